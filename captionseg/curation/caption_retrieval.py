"""Caption curation, the naive solution of CoCu §3.2: concepts of the captions that fit the image
best.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from captionseg.curation.relevance import Positive, compute_relevance, expand, require_sigmoid
from captionseg.curation.rule import Columns, Fitted
from captionseg.curation.selection import select, take, weigh
from captionseg.records import Corpus
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

    def fit(self, corpus: Corpus) -> Fitted:
        """See Rule."""
        if self.positive == "sigmoid":
            require_sigmoid(corpus.sigmoid)
        return {}

    def curate(self, corpus: Corpus, fitted: Fitted, rows: Int[np.ndarray, " n"]) -> Columns:
        """Columns of the supervision of some rows."""
        near, own = corpus.caption_neighbours[rows], corpus.named[rows]
        found = expand(near, self.captions, own, corpus.named, minimum=1)
        f = compute_relevance(corpus, rows, self.positive, found.concept)
        place = select(
            np.where(found.concept >= 0, f, -np.inf),
            found.own,
            self.limit,
            own_first=self.own_first,
        )
        score = take(f, place, np.nan)
        certain = take(found.own & self.own_first, place, False)
        return {
            "concept": take(found.concept, place, -1),
            "score": score,
            "score_a": score,
            "weight": weigh(score, certain, self.temperature),
            "support": take(found.support, place, 0),
        }
