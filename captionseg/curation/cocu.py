"""CoCu (Xing et al. 2023, §3.3), complete and literal; what the paper leaves open is a field.

Three functions in the order of the paper: expansion by neighbours, ranking by Eq. 6-8, clusters for
sampling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.sparse import csr_array

from captionseg.curation.archive import FAINTEST, Archive, join, select, take, to_supervision
from captionseg.curation.clustering import cluster
from captionseg.curation.relevance import (
    Positive,
    adjacency,
    named_relevance,
    relevance,
    score_b,
    summed,
)
from captionseg.records import Corpus, Supervision
from captionseg.typed import AboveZero, Count, Natural


@dataclass(frozen=True)
class CoCu:
    """Vision-driven expansion, text-to-vision-guided ranking, clusters for cluster-guided sampling.

    Attributes:
        neighbours: N, images whose captions fill the archive. Open in the paper; its code takes 8
            of millions.
        minimum_support: a concept enters the archive when so many of the N captions name it. Open
            in the paper (1).
        limit: M, at most so many concepts an image. Open in the paper.
        clusters: L; 0 samples from the whole archive by relevance.
        ranking: a+b is Eq. 8; a is Eq. 6 alone ("naive ranking"), b Eq. 7 alone.
        positive: how the cosine becomes f > 0 in Eq. 6 and 7. Open in the paper.
        temperature: a concept is drawn with probability proportional to exp(s / temperature). Open
            in the paper.
        own_first: the caption's own concepts stand first and are drawn like the best. Open in the
            paper.
        chunk: images at once; memory is bounded by chunk x (concepts of the vocabulary).
    """

    neighbours: Count = 128
    minimum_support: Natural = 3
    limit: Count = 6
    clusters: Natural = 3
    ranking: Literal["a+b", "a", "b"] = "a+b"
    positive: Positive = "shifted"
    temperature: AboveZero = 0.2
    own_first: bool = True
    chunk: Count = 1024

    def __post_init__(self) -> None:
        for name in ("neighbours", "limit", "temperature", "chunk"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, found {getattr(self, name)}")

    def __call__(self, corpus: Corpus, supervision: Supervision, *, seed: int = 0) -> Supervision:
        """See Rule."""
        reference = named_relevance(corpus, self.positive)
        rows = np.arange(len(corpus))
        parts = [
            self.archive(corpus, rows[i : i + self.chunk], reference)
            for i in range(0, len(rows), self.chunk)
        ]
        return to_supervision(join(parts), corpus, supervision, "cocu")

    def archive(self, corpus: Corpus, rows: np.ndarray, reference: csr_array) -> Archive:
        """The archives of some rows; `reference` is `named_relevance` of the corpus."""
        near = adjacency(corpus.neighbours[rows], self.neighbours, len(corpus))
        support = summed(near, corpus.named)  # N', expansion
        own = corpus.named[rows].toarray()
        s_a = relevance(corpus, rows, self.positive)  # Eq. 6
        s_b = score_b(s_a, support, summed(near, reference))  # Eq. 7
        score = {"a+b": s_a + s_b, "a": s_a, "b": s_b}[self.ranking]  # Eq. 8
        score = np.where((support >= self.minimum_support) | own, score, -np.inf)
        concept = select(score, own, self.limit, own_first=self.own_first)
        kept = take(score, concept, np.nan)
        return Archive(
            concept,
            kept,
            take(s_a, concept, np.nan),
            take(s_b, concept, np.nan),
            self.weights(kept, take(own, concept, False)),
            take(support, concept, 0).astype(np.int32),
            self.clusters_of(concept, corpus),
        )

    def weights(self, score: np.ndarray, own: np.ndarray) -> np.ndarray:
        """[n, M] exp(s / temperature), the row's best at 1; own concepts as the best when they
        stand first.
        """
        best = np.max(np.where(np.isnan(score), -np.inf, score), axis=1, keepdims=True)
        raised = np.where(own & self.own_first, best, score)
        return np.where(
            np.isnan(score), 0.0, np.exp(np.maximum((raised - best) / self.temperature, FAINTEST))
        )

    def clusters_of(self, concept: np.ndarray, corpus: Corpus) -> np.ndarray:
        """[n, M] semantic clusters, or -1 throughout when `clusters` is 0."""
        if not self.clusters:
            return np.full(concept.shape, -1, np.int32)
        return cluster(concept, corpus.concept_embedding, self.clusters)
