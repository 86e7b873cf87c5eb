"""No concept at all: for models that learn from whole captions (TCL), and for those that learn
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from captionseg.records import Corpus, Supervision


@dataclass(frozen=True)
class Captions:
    """Every row is kept as it is; what concepts it had are taken away."""

    def __call__(self, corpus: Corpus, supervision: Supervision, *, seed: int = 0) -> Supervision:
        """See Rule."""
        return Supervision(
            supervision.uid, supervision.kept, supervision.drop_reason, [()] * len(supervision)
        )
