"""The caption's own nouns, GroupViT's multi-label texts: the baseline that curation is measured
against.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from captionseg.curation.archive import Archive, join, select, to_supervision
from captionseg.records import Corpus, Supervision
from captionseg.typed import Count


@dataclass(frozen=True)
class Nouns:
    """Every concept that the caption names, all equally likely.

    Attributes:
        limit: at most so many an image, the most frequent of the corpus first.
        chunk: images at once.
    """

    limit: Count = 6
    chunk: Count = 1024

    def __call__(self, corpus: Corpus, supervision: Supervision, *, seed: int = 0) -> Supervision:
        """See Rule."""
        parts = []
        for start in range(0, len(corpus), self.chunk):
            own = corpus.named[start : start + self.chunk].toarray()
            parts.append(
                uniform(select(np.where(own, 1.0, -np.inf), own, self.limit, own_first=False))
            )
        return to_supervision(join(parts), corpus, supervision, "nouns")


def uniform(concept: np.ndarray) -> Archive:
    """An archive whose concepts all have score and weight 1."""
    one, nan = np.ones(concept.shape, np.float32), np.full(concept.shape, np.nan, np.float32)
    nothing = np.zeros(concept.shape, np.int32)
    return Archive(concept, one, nan, nan, one, nothing, nothing - 1)
