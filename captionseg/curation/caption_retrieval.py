"""Caption curation, the naive solution of CoCu §3.2: concepts of the captions that fit the image
best.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from captionseg.curation.relevance import Positive, compute_relevance, expand
from captionseg.curation.selection import curate_chunks, select, take, weigh
from captionseg.records import Corpus
from captionseg.supervision.columns import Supervision
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
        return curate_chunks(
            "caption_retrieval",
            corpus,
            supervision,
            self.chunk,
            lambda rows: self.curate(corpus, rows),
        )

    def curate(self, corpus: Corpus, rows: Int[np.ndarray, " n"]) -> dict[str, np.ndarray]:
        """Columns of the supervision of some rows."""
        (support,) = expand(corpus.caption_neighbours[rows], self.captions, corpus.named)
        own = corpus.named[rows].toarray()
        f = compute_relevance(corpus, rows, self.positive)
        score = np.where((support > 0) | own, f, -np.inf)
        concept = select(score, own, self.limit, own_first=self.own_first)
        score = take(f, concept, np.nan)
        return {
            "concept": concept,
            "score": score,
            "score_a": score,
            "weight": weigh(score, take(own & self.own_first, concept, False), self.temperature),
            "support": take(support, concept, 0),
        }
