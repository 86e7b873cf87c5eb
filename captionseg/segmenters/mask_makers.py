"""Makers of overlapping masks by name, and the params that choose one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from captionseg.segmenters.hierarchy import Hierarchy
from captionseg.segmenters.sam_auto import SamAuto
from captionseg.segmenters.segmenter import MaskMaker
from captionseg.typed import Member

MASK_MAKERS = {"hierarchy": Hierarchy, "sam_auto": SamAuto}


@dataclass(frozen=True)
class MasksParams:
    """The segments of a picture that a model which reads segments gives classes to (inference of
    USE).

    Attributes:
        maker: regions are those that models are trained with (section `regions`), which do not
            overlap; else which of MASK_MAKERS, whose own section holds its parameters.
        aggregate: the score of a pixel from those of the masks it is in: their sum, which has the
            argmax of their mean, or the largest. Of regions both are the same.
    """

    maker: Annotated[str, Member(MASK_MAKERS, also="regions")] = "regions"
    aggregate: Literal["sum", "max"] = "sum"
    hierarchy: Hierarchy = field(default_factory=Hierarchy)
    sam_auto: SamAuto = field(default_factory=SamAuto)

    def build(self) -> MaskMaker | None:
        """The maker that `maker` names; None for regions, which are there already."""
        return None if self.maker == "regions" else getattr(self, self.maker).build()
