"""The interface of every curation rule."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from captionseg.records import Corpus
from captionseg.supervision.columns import Supervision


@runtime_checkable
class Rule(Protocol):
    """A frozen dataclass whose fields are its parameters.

    It is pure: it reads the corpus and the supervision so far, and returns a new supervision of the
    same rows. It marks rows as dropped, with a reason; it never removes one.
    """

    def __call__(self, corpus: Corpus, supervision: Supervision, *, seed: int = 0) -> Supervision:
        """The supervision after this rule."""
        ...
