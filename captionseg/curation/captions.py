"""No concept at all: for models that learn from whole captions (TCL), and for those that learn
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from captionseg.records import Corpus
from captionseg.supervision.columns import Supervision


@dataclass(frozen=True)
class Captions:
    """Every row is kept as it is; what concepts it had are taken away."""

    def __call__(self, corpus: Corpus, supervision: Supervision, *, seed: int = 0) -> Supervision:
        """See Rule."""
        return replace(
            Supervision.blank(supervision.uid),
            rule="captions",
            vocabulary=corpus.vocabulary,
            kept=supervision.kept,
            drop_reason=supervision.drop_reason,
        )
