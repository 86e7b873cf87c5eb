"""Captions generated for pictures that have one already (USE, section 3.1), one captioner a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from captionseg.captioners.cache import caption, read_captions
from captionseg.captioners.captioner import Captioner, CaptionError, NoCaption
from captionseg.captioners.chat import ChatParams
from captionseg.captioners.precomputed import PrecomputedParams
from captionseg.captioners.server import ServerParams

CAPTIONERS = {"chat": ChatParams, "server": ServerParams, "precomputed": PrecomputedParams}

__all__ = ["CAPTIONERS", "CaptionError", "CaptionParams", "Captioner", "NoCaption", "caption", "read_captions"]


@dataclass(frozen=True)
class CaptionParams:
    """Who captions pictures, and how.

    Attributes:
        captioner: which of CAPTIONERS; its own section holds its parameters.
        retry_failed: ask again for what failed in an earlier run.
    """

    captioner: Literal["chat", "server", "precomputed"] = "chat"
    retry_failed: bool = True
    chat: ChatParams = field(default_factory=ChatParams)
    server: ServerParams = field(default_factory=ServerParams)
    precomputed: PrecomputedParams = field(default_factory=PrecomputedParams)

    def build(self) -> Captioner:
        """The chosen captioner."""
        return getattr(self, self.captioner).build()
