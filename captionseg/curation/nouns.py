"""The caption's own nouns, GroupViT's multi-label texts: the baseline that curation is measured
against.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from captionseg.curation.rule import Columns, Fitted
from captionseg.curation.selection import list_named
from captionseg.records import Corpus
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

    def fit(self, corpus: Corpus) -> Fitted:
        """See Rule."""
        return {}

    def curate(self, corpus: Corpus, fitted: Fitted, rows: np.ndarray) -> Columns:
        """Columns of the supervision of some rows."""
        return {"concept": list_named(corpus.named[rows], self.limit)}
