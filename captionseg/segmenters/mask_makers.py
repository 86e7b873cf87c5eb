"""Makers of overlapping masks by name, and the params that choose one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from captionseg.constraints import Member
from captionseg.segmenters.hierarchy import Hierarchy
from captionseg.segmenters.interfaces import MaskMaker
from captionseg.segmenters.sam2_auto import Sam2Auto
from captionseg.segmenters.sam_auto import SamAuto

MASK_MAKERS = {"hierarchy": Hierarchy, "sam_auto": SamAuto, "sam2_auto": Sam2Auto}


@dataclass(frozen=True)
class MasksParams:
    """The segments of a picture that models which read segments classify (inference of USE).

    Attributes:
        maker: regions means those used in training (section `regions`), which do not overlap;
            otherwise a member of MASK_MAKERS, with its own section.
        aggregate: how a pixel combines the scores of its masks: sum (with the same argmax as the
            mean) or maximum. For regions both are equal.
    """

    maker: Annotated[str, Member(MASK_MAKERS, also="regions")] = "regions"
    aggregate: Literal["sum", "max"] = "sum"
    hierarchy: Hierarchy = field(default_factory=Hierarchy)
    sam_auto: SamAuto = field(default_factory=SamAuto)
    sam2_auto: Sam2Auto = field(default_factory=Sam2Auto)

    def build(self) -> MaskMaker | None:
        """Build the chosen maker; None for regions, which already exist."""
        return None if self.maker == "regions" else getattr(self, self.maker).build()
