"""The caption's own nouns, GroupViT's multi-label texts: the baseline that curation is measured
against.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from captionseg.curation.selection import curate_chunks, select_named
from captionseg.records import Corpus
from captionseg.supervision.columns import Supervision
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

        def curate(rows: np.ndarray) -> dict[str, np.ndarray]:
            return {"concept": select_named(corpus.named[rows].toarray(), self.limit)}

        return curate_chunks("nouns", corpus, supervision, self.chunk, curate)
