"""Our own extension of CoCu: scores calibrated per concept. It goes beyond the paper.

Captions name some of the concepts that an image shows: positive-unlabelled data, a concept at a
time. Elkan & Noto (2008): if captions name a concept at random among the images that show it, then

    P(c shown | x) = g(x, c) / e_c,  g(x, c) = P(c named | x),
    e_c = mean of g(x', c) over captions that name c.

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
from captionseg.curation.labelling import LeaveOneOut
from captionseg.curation.relevance import expand, relevance
from captionseg.curation.selection import curate_chunks, select, take
from captionseg.records import Corpus
from captionseg.supervision.columns import Supervision
from captionseg.typed import AboveZero, Count, Finite, Natural, ZeroOrMore


@dataclass(frozen=True)
class CalibratedCoCu:
    """Vision-driven expansion, positive-unlabelled ranking.

    Attributes:
        estimator: labels or cosine, see above.
        strength: of the ridge of `labels`.
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
                return relevance(corpus, rows, "shifted")

            mu = average_positives(f, corpus, self.chunk)
            return lambda rows: np.exp(np.minimum(f(rows) - mu, 0.0) / self.temperature)
        g = LeaveOneOut.fit(corpus.image_feature, corpus.named, self.strength).predict
        e = np.maximum(average_positives(g, corpus, self.chunk), 1e-3)
        return lambda rows: np.clip(g(rows) / e, 1e-4, 1.0)

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
