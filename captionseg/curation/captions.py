"""No concept at all: for models that learn from whole captions (TCL), and for those that learn
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from captionseg.curation.rule import Columns, Fitted
from captionseg.records import Corpus


@dataclass(frozen=True)
class Captions:
    """Every row is kept as it is, without concepts."""

    def fit(self, corpus: Corpus) -> Fitted:
        """See Rule."""
        return {}

    def curate(self, corpus: Corpus, fitted: Fitted, rows: np.ndarray) -> Columns:
        """No columns."""
        return {}
