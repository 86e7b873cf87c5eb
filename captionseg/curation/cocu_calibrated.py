"""Our own extension of CoCu: scores calibrated per concept. It goes beyond the paper.

Eq. 7 compares f(x, t) with its values at the neighbours whose captions name the concept: a local calibration by a
handful of positives. Here every image of the corpus whose caption names the concept is a positive (Elkan & Noto 2008:
captions label some of the images that show a concept, at random among them). The score is how far the image falls
short of the concept's typical positive,

    R(x, c) = exp(min(f(x, t_c) - mu_c, 0) / temperature),   mu_c = mean of f(x', t_c) over captions that name c,

an estimate of P(c shown) up to a factor, 1 for the caption's own concepts. Expansion stays CoCu's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from captionseg.curation.archive import Archive, join, select, take, to_supervision
from captionseg.curation.clustering import cluster
from captionseg.curation.relevance import adjacency, named_relevance, relevance
from captionseg.records import Corpus, Supervision


@dataclass(frozen=True)
class CoCuCalibrated:
    """Vision-driven expansion, positive-unlabelled ranking.

    Attributes:
        neighbours: N, images whose captions fill the archive.
        minimum_support: so many of the N captions must name a concept.
        limit: M, at most so many concepts an image.
        temperature: of R, in units of f.
        power: a concept is drawn with probability proportional to R ** power.
        minimum_score: a concept with a lower R stays out of the archive.
        clusters: L of cluster-guided sampling; 0 samples from the whole archive.
        chunk: images at once.
    """

    neighbours: int = 128
    minimum_support: int = 2
    limit: int = 6
    temperature: float = 0.1
    power: float = 1.0
    minimum_score: float = 0.0
    clusters: int = 0
    chunk: int = 1024

    def __call__(self, corpus: Corpus, supervision: Supervision, *, seed: int = 0) -> Supervision:
        """See Rule."""
        typical = self.positives(corpus)
        rows = np.arange(len(corpus))
        parts = [self.archive(corpus, rows[i : i + self.chunk], typical) for i in range(0, len(rows), self.chunk)]
        return to_supervision(join(parts), corpus, supervision, "cocu_calibrated")

    def positives(self, corpus: Corpus) -> np.ndarray:
        """[C] mu_c: mean f over the images whose captions name the concept; NaN where none does."""
        count = np.asarray(corpus.named.astype(float).sum(axis=0)).ravel()
        total = np.asarray(named_relevance(corpus, "shifted").sum(axis=0)).ravel()
        return np.where(count > 0, total / np.maximum(count, 1.0), np.nan)

    def archive(self, corpus: Corpus, rows: np.ndarray, typical: np.ndarray) -> Archive:
        """The archives of some rows; `typical` is `positives` of the corpus."""
        near = adjacency(corpus.neighbours[rows], self.neighbours, len(corpus))
        support = (near @ corpus.named.astype(float)).toarray()
        own = corpus.named[rows].toarray()
        f = relevance(corpus, rows, "shifted")
        ratio = np.exp(np.minimum(f - typical, 0.0) / self.temperature)
        score = np.where(own, 1.0, np.where(support >= self.minimum_support, ratio, -np.inf))
        score[score < self.minimum_score] = -np.inf
        concept = select(score, own, self.limit, own_first=True)
        kept = take(score, concept, np.nan)
        weight = np.where(concept >= 0, np.maximum(kept, 1e-6) ** self.power, 0.0)
        clusters = (cluster(concept, corpus.concept_embedding, self.clusters) if self.clusters
                    else np.full(concept.shape, -1, np.int32))
        nan = np.full(concept.shape, np.nan, np.float32)
        return Archive(concept, kept, take(f, concept, np.nan), nan, weight,
                       take(support, concept, 0).astype(np.int32), clusters)
