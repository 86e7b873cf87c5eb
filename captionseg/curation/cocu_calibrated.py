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

import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32, Int
from scipy.sparse import csr_array

from captionseg.curation.clustering import cluster
from captionseg.curation.leave_one_out import LeaveOneOut
from captionseg.curation.relevance import (
    Candidates,
    compute_named_relevance,
    compute_relevance,
    count_columns,
    expand,
    with_values,
)
from captionseg.curation.rule import Columns, Fitted
from captionseg.curation.selection import select, take
from captionseg.records import Corpus
from captionseg.typed import AboveZero, Count, Finite, Natural, Share, ZeroOrMore

log = logging.getLogger(__name__)

SMALLEST = 1e-3  # width between the two levels
SAMPLE = 4096  # images by which the floor is found, at most
SCORES = 1 << 24  # of them with all concepts, at most, unless there are very many concepts
BLOCK = 256  # of them at once
SMALLEST_R = 1e-4  # so that every concept can be drawn
MANY = 100_000  # pairs from which it takes long to score every concept


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
        minimum_support: so many of the N captions must name a concept; 0 leaves every concept in,
            which costs N x C.
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

    def fit(self, corpus: Corpus) -> Fitted:
        """See Rule."""
        if self.minimum_support == 0 and len(corpus) > MANY:
            log.warning(
                "cocu_calibrated: minimum_support 0 scores all %d concepts of each of %d pairs; "
                "with 1 it scores those that neighbours name, which is much faster",
                len(corpus.vocabulary),
                len(corpus),
            )
        return self.fit_cosine(corpus) if self.estimator == "cosine" else self.fit_labels(corpus)

    def fit_cosine(self, corpus: Corpus) -> Fitted:
        """mu of each concept."""
        f = with_values(corpus.named, compute_named_relevance(corpus, "shifted"))
        return {"typical": average_positives(f, self.chunk)}

    def fit_labels(self, corpus: Corpus) -> Fitted:
        """The ridge regression that makes g, and the two levels of each concept."""
        named, concepts = corpus.named, len(corpus.vocabulary)
        model = LeaveOneOut.fit(corpus.image_feature, named, self.strength)
        g = with_values(named, model.predict_named(corpus.image_feature, named))
        low = self.base * (np.bincount(named.indices, minlength=concepts) / len(corpus))
        typical = (
            average_positives(g, self.chunk)
            if self.high == "mean"
            else find_quantiles(g, self.quantile)
        )
        floor = 0.0
        if self.shown < concepts:  # or an image cannot show more
            floor = find_floor(sample_g(model, corpus), low, typical, self.shown)
        return model.arrays() | {"low": low, "high": np.fmax(typical, floor)}

    def estimate(
        self, corpus: Corpus, fitted: Fitted, rows: Int[np.ndarray, " n"], found: Candidates
    ) -> Float[np.ndarray, "n W"]:
        """R, the estimate of P(c shown | x), at most 1, of some rows and their candidates."""
        if self.estimator == "cosine":
            f = compute_relevance(corpus, rows, "shifted", found.concept)
            short = np.minimum(f - fitted["typical"][found.concept], 0.0)
            return np.exp(short / self.temperature)
        model = LeaveOneOut.of_arrays(fitted)
        g = model.predict(rows, corpus.image_feature[rows], found.own, found.concept)
        low, high = fitted["low"][found.concept], fitted["high"][found.concept]
        return np.maximum(rescale_between(g, low, high), SMALLEST_R)

    def curate(self, corpus: Corpus, fitted: Fitted, rows: Int[np.ndarray, " n"]) -> Columns:
        """See Rule."""
        near, own = corpus.neighbours[rows], corpus.named[rows]
        found = expand(near, self.neighbours, own, corpus.named, minimum=self.minimum_support)
        score = np.where(found.own, 1.0, self.estimate(corpus, fitted, rows, found))
        score[(score < self.minimum_score) | (found.concept < 0)] = -np.inf
        place = select(score, found.own, self.limit, own_first=True)
        concept, score = take(found.concept, place, -1), take(score, place, np.nan)
        return {
            "concept": concept,
            "score": score,
            "weight": np.maximum(score, 1e-6) ** self.power,
            "support": take(found.support, place, 0),
            "cluster": cluster(concept, corpus.concept_embedding, self.clusters),
        }


def sample_g(model: LeaveOneOut, corpus: Corpus) -> Float32[np.ndarray, "n C"]:
    """g of some images, evenly spaced, and all concepts."""
    concepts = len(corpus.vocabulary)
    count = min(len(corpus), SAMPLE, max(BLOCK, SCORES // concepts))
    rows = np.linspace(0, len(corpus) - 1, count).astype(np.int64)
    g = np.empty((count, concepts), np.float32)
    for start in range(0, count, BLOCK):
        part = rows[start : start + BLOCK]
        labels = corpus.named[part].toarray()
        g[start : start + BLOCK] = model.predict(part, corpus.image_feature[part], labels)
    return g


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
        high = np.fmax(typical, floor)
        starts = range(0, len(g), BLOCK)
        sums = [rescale_between(g[i : i + BLOCK], low, high).sum(1) for i in starts]
        return float(np.concatenate(sums).mean())

    lowest, highest = 0.0, 1.0
    if count_shown(lowest) <= shown or count_shown(highest) > shown:
        return lowest if count_shown(lowest) <= shown else highest
    for _ in range(20):
        middle = (lowest + highest) / 2
        lowest, highest = (middle, highest) if count_shown(middle) > shown else (lowest, middle)
    return highest


def find_quantiles(scores: csr_array, quantile: float) -> Float[np.ndarray, " C"]:
    """A quantile of the scores over the images whose captions name a concept; NaN where none does.

    Args:
        scores: [N, C], an entry wherever a caption names a concept.
        quantile: 0 to 1; between two scores the lower one.
    """
    concept, value = scores.indices, scores.data
    value = value[np.lexsort((value, concept))]  # by concept, then by value
    count = np.bincount(concept, minlength=count_columns(scores))
    first = np.cumsum(count) - count
    position = first + np.floor(quantile * np.maximum(count - 1, 0)).astype(np.int64)
    is_named = count > 0
    return np.where(
        is_named, value[np.where(is_named, position, 0)] if len(value) else np.nan, np.nan
    )


def average_positives(scores: csr_array, chunk: int) -> Float[np.ndarray, " C"]:
    """Mean score over the images whose captions name a concept; NaN where none does.

    Args:
        scores: [N, C], an entry wherever a caption names a concept.
        chunk: images at once; a sum within a chunk has the precision of the scores.
    """
    total = np.zeros(count_columns(scores))
    for start in range(0, len(scores.indptr) - 1, chunk):
        total += scores[start : start + chunk].sum(axis=0)
    count = np.bincount(scores.indices, minlength=len(total))
    return np.where(count > 0, total / np.maximum(count, 1.0), np.nan)
