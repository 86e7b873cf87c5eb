"""Captioners by name, and section `caption` of params.yaml, which chooses one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from captionseg.captioners.captioner import Captioner
from captionseg.captioners.chat import ChatParams
from captionseg.captioners.precomputed import PrecomputedParams
from captionseg.captioners.server import ServerParams
from captionseg.constraints import Member
from captionseg.records import UserError
from captionseg.typed import Split

CAPTIONERS = {"chat": ChatParams, "server": ServerParams, "precomputed": PrecomputedParams}


@dataclass(frozen=True)
class CaptionParams:
    """Section `caption`: the captioner that generates second captions.

    Attributes:
        captioner: member of CAPTIONERS, with its own section; none generates no captions.
        split: split of the captioned pictures.
        retry_failed: retry pictures that failed in an earlier run.
    """

    captioner: Annotated[str, Member(CAPTIONERS, also="none")] = "none"
    split: Split = "train"
    retry_failed: bool = True
    chat: ChatParams = field(default_factory=ChatParams)
    server: ServerParams = field(default_factory=ServerParams)
    precomputed: PrecomputedParams = field(default_factory=PrecomputedParams)

    def build(self) -> Captioner:
        """Build the chosen captioner.

        Raises:
            UserError: if it cannot work, or none is chosen.
        """
        if self.captioner == "none":
            raise UserError(
                f"caption.captioner: none is chosen; choose one of {', '.join(CAPTIONERS)}"
            )
        return getattr(self, self.captioner).build()
