"""Caption curation, the naive solution of CoCu §3.2: concepts of the captions that fit the image
best.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from captionseg.curation.archive import FAINTEST, Archive, join, select, take, to_supervision
from captionseg.curation.relevance import Positive, adjacency, relevance, summed
from captionseg.records import Corpus, Supervision
from captionseg.typed import AboveZero, Count


@dataclass(frozen=True)
class CaptionRetrieval:
    """Language-driven expansion, ranked by f alone (model #1 of Table 3, with sampling by
    relevance).

    Attributes:
        captions: L, extra captions retrieved with the image as query; the image's own is kept
            beside them.
        limit: M, at most so many concepts an image.
        positive: how the cosine becomes f > 0.
        temperature: a concept is drawn with probability proportional to exp(f / temperature).
        own_first: the caption's own concepts stand first and are drawn like the best.
        chunk: images at once.
    """

    captions: Count = 3
    limit: Count = 6
    positive: Positive = "shifted"
    temperature: AboveZero = 0.2
    own_first: bool = True
    chunk: Count = 1024

    def __call__(self, corpus: Corpus, supervision: Supervision, *, seed: int = 0) -> Supervision:
        """See Rule."""
        rows = np.arange(len(corpus))
        parts = [
            self._archive(corpus, rows[i : i + self.chunk]) for i in range(0, len(rows), self.chunk)
        ]
        return to_supervision(join(parts), corpus, supervision, "caption_retrieval")

    def _archive(self, corpus: Corpus, rows: np.ndarray) -> Archive:
        near = adjacency(corpus.caption_neighbours[rows], self.captions, len(corpus))
        support = summed(near, corpus.named)
        own = corpus.named[rows].toarray()
        f = relevance(corpus, rows, self.positive)
        score = np.where((support > 0) | own, f, -np.inf)
        concept = select(score, own, self.limit, own_first=self.own_first)
        kept = take(score, concept, np.nan)
        best = np.nanmax(np.where(concept >= 0, kept, -np.inf), axis=1, keepdims=True)
        raised = np.where(take(own, concept, False) & self.own_first, best, kept)
        weight = np.where(
            concept >= 0, np.exp(np.maximum((raised - best) / self.temperature, FAINTEST)), 0.0
        )
        nan = np.full(concept.shape, np.nan, np.float32)
        return Archive(
            concept,
            kept,
            kept,
            nan,
            weight,
            take(support, concept, 0).astype(np.int32),
            np.full(concept.shape, -1, np.int32),
        )
