"""Our own extension of CoCu: scores calibrated per concept. It goes beyond the paper.

Captions name some of the concepts that an image shows: positive-unlabelled data, a concept at a
time. Elkan & Noto (2008): if captions name a concept at random among the images that show it, then
g(x, c) = P(c named | x) is P(c shown | x) times the share e_c of such images whose captions name
it. Their e_c is the mean of g over the captions that name c, which is too low wherever the features
predict c badly: then g / e_c is 1 for images that do not show it. So g is read between two levels,

    R(x, c) = (g(x, c) - low_c) / (high_c - low_c), between 0 and 1,
    high_c = max(mean or quantile of g(x', c) over captions that name c, floor),
    low_c = `base` times the share of captions that name c.

`high` is the level of images that surely show c, `low` that of images that do not: the prior is no
evidence. Rarely named and hardly predictable look alike in g, one concept at a time; together they
do not, for an image shows no more than a few concepts. So the floor is the smallest under which the
R of an image add up to at most `shown` on average: it is 0 where the features tell concepts apart,
and where they do not, a concept whose g stays below it gets no R near 1.

`estimator: labels` learns g from the captions, by ridge regression on the frozen image features,
leave-one-out, so that no image is scored by its own caption. `estimator: cosine` keeps CoCu's f and
takes the log of g for it up to a factor: R = exp(min(f - mu_c, 0) / temperature), mu_c = mean of f
over captions that name c. Eq. 7 is the local version of this: f over its mean at the few neighbours
that name c. Expansion stays CoCu's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from captionseg.curation.clustering import cluster
from captionseg.curation.leave_one_out import LeaveOneOut
from captionseg.curation.relevance import compute_relevance, expand
from captionseg.curation.selection import curate_chunks, select, take
from captionseg.records import Corpus
from captionseg.supervision.columns import Supervision
from captionseg.typed import AboveZero, Count, Finite, Natural, Share, ZeroOrMore

SMALLEST = 1e-3  # width between the two levels
SAMPLE = 4096  # images by which the floor is found
SMALLEST_R = 1e-4  # so that every concept can be drawn


@dataclass(frozen=True)
class CalibratedCoCu:
    """Vision-driven expansion, positive-unlabelled ranking.

    Attributes:
        estimator: labels or cosine, see above.
        strength: of the ridge of `labels`.
        high: what of g over the captions that name a concept is the high level, see above: its mean
            (e_c of Elkan & Noto, where `base` is 0) or its `quantile`; `labels` only.
        quantile: see `high`.
        base: share of the prior that is the low level, see above; `labels` only.
        shown: most concepts that an image shows on average, see above; `labels` only.
        neighbours: N, images whose captions fill the archive.
        minimum_support: so many of the N captions must name a concept; 0 leaves every concept in.
        limit: M, at most so many concepts an image.
        temperature: of R, in units of f; `cosine` only.
        power: a concept is drawn with probability proportional to R ** power.
        minimum_score: a concept with a lower R stays out of the archive.
        clusters: L of cluster-guided sampling; 0 samples from the whole archive.
        chunk: images at once.
    """

    estimator: Literal["labels", "cosine"] = "labels"
    strength: AboveZero = 10.0
    high: Literal["mean", "quantile"] = "quantile"
    quantile: Share = 0.75
    base: Share = 0.5
    shown: AboveZero = 10.0
    neighbours: Count = 128
    minimum_support: Natural = 2
    limit: Count = 6
    temperature: AboveZero = 0.1
    power: ZeroOrMore = 1.0
    minimum_score: Finite = 0.0
    clusters: Natural = 0
    chunk: Count = 1024

    def __call__(self, corpus: Corpus, supervision: Supervision, *, seed: int = 0) -> Supervision:
        """See Rule."""
        shown = self.estimate(corpus)
        return curate_chunks(
            "cocu_calibrated",
            corpus,
            supervision,
            self.chunk,
            lambda rows: self.curate(corpus, rows, shown(rows)),
        )

    def estimate(self, corpus: Corpus) -> Callable[[np.ndarray], np.ndarray]:
        """rows -> [n, C] R, the estimate of P(c shown | x), at most 1."""
        if self.estimator == "cosine":

            def f(rows: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n C"]:
                return compute_relevance(corpus, rows, "shifted")

            mu = average_positives(f, corpus, self.chunk)
            return lambda rows: np.exp(np.minimum(f(rows) - mu, 0.0) / self.temperature)
        g = LeaveOneOut.fit(corpus.image_feature, corpus.named, self.strength).predict
        prior = np.asarray(corpus.named.astype(np.int64).sum(axis=0)).ravel() / len(corpus)
        low = self.base * prior
        typical = (
            average_positives(g, corpus, self.chunk)
            if self.high == "mean"
            else find_quantiles(g, corpus, self.quantile, self.chunk)
        )
        sample = np.linspace(0, len(corpus) - 1, min(len(corpus), SAMPLE)).astype(np.int64)
        high = np.fmax(typical, find_floor(g(sample), low, typical, self.shown))
        return lambda rows: np.maximum(rescale_between(g(rows), low, high), SMALLEST_R)

    def curate(
        self, corpus: Corpus, rows: Int[np.ndarray, " n"], shown: Float[np.ndarray, "n C"]
    ) -> dict[str, np.ndarray]:
        """Columns of the supervision of some rows; `shown` is R of them."""
        (support,) = expand(corpus.neighbours[rows], self.neighbours, corpus.named)  # N'
        own = corpus.named[rows].toarray()
        score = np.where(own, 1.0, np.where(support >= self.minimum_support, shown, -np.inf))
        score[score < self.minimum_score] = -np.inf
        concept = select(score, own, self.limit, own_first=True)
        score = take(score, concept, np.nan)
        return {
            "concept": concept,
            "score": score,
            "weight": np.maximum(score, 1e-6) ** self.power,
            "support": take(support, concept, 0),
            "cluster": cluster(concept, corpus.concept_embedding, self.clusters),
        }


def rescale_between(g: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """[n, C] where g lies between two levels [C]: 0 at the low one, 1 at the high one."""
    return np.clip((g - low) / np.maximum(high - low, SMALLEST), 0.0, 1.0)


def find_floor(g: np.ndarray, low: np.ndarray, typical: np.ndarray, shown: float) -> float:
    """The smallest floor of high levels under which R adds up to at most `shown` an image.

    Args:
        g: [n, C] of some images.
        low: [C] levels of images that do not show a concept.
        typical: [C] levels of images that do; NaN where no caption names it.
        shown: concepts.
    """

    def count_shown(floor: float) -> float:
        return float(rescale_between(g, low, np.fmax(typical, floor)).sum(1).mean())

    lowest, highest = 0.0, 1.0
    if count_shown(lowest) <= shown or count_shown(highest) > shown:
        return lowest if count_shown(lowest) <= shown else highest
    for _ in range(20):
        middle = (lowest + highest) / 2
        lowest, highest = (middle, highest) if count_shown(middle) > shown else (lowest, middle)
    return highest


def find_quantiles(
    score: Callable[[np.ndarray], np.ndarray], corpus: Corpus, quantile: float, chunk: int
) -> np.ndarray:
    """[C]: a quantile of the score over the images whose captions name a concept; NaN where none
    does.

    Args:
        score: rows -> [n, C].
        corpus: whose images.
        quantile: 0 to 1; between two scores the lower one.
        chunk: images at once.
    """
    concepts, values = [], []
    for start in range(0, len(corpus), chunk):
        rows = np.arange(start, min(start + chunk, len(corpus)))
        row, concept = np.nonzero(corpus.named[rows].toarray())
        concepts.append(concept)
        values.append(score(rows)[row, concept])
    concept, value = np.concatenate(concepts), np.concatenate(values)
    value = value[np.lexsort((value, concept))]  # by concept, then by value
    count = np.bincount(concept, minlength=len(corpus.vocabulary))
    first = np.cumsum(count) - count
    position = first + np.floor(quantile * np.maximum(count - 1, 0)).astype(np.int64)
    is_named = count > 0
    return np.where(
        is_named, value[np.where(is_named, position, 0)] if len(value) else np.nan, np.nan
    )


def average_positives(
    score: Callable[[np.ndarray], np.ndarray], corpus: Corpus, chunk: int
) -> Float[np.ndarray, " C"]:
    """Mean score over the images whose captions name a concept; NaN where none does.

    Args:
        score: rows -> [n, C].
        corpus: whose images.
        chunk: images at once.
    """
    total, count = np.zeros(len(corpus.vocabulary)), np.zeros(len(corpus.vocabulary))
    for start in range(0, len(corpus), chunk):
        rows = np.arange(start, min(start + chunk, len(corpus)))
        named = corpus.named[rows].toarray()
        total += np.where(named, score(rows), 0.0).sum(0)
        count += named.sum(0)
    return np.where(count > 0, total / np.maximum(count, 1.0), np.nan)
