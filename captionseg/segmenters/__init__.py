"""Masks: class-agnostic regions of whole pictures, class-agnostic masks that may overlap, and masks
for boxes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from captionseg.segmenters.felzenszwalb import Felzenszwalb
from captionseg.segmenters.hierarchy import Hierarchy
from captionseg.segmenters.sam import Sam
from captionseg.segmenters.sam_auto import SamAuto
from captionseg.segmenters.segmenter import BoxSegmenter, MaskMaker, RegionMaker
from captionseg.segmenters.superpixels import Superpixels

REGION_MAKERS = {"felzenszwalb": Felzenszwalb}
MASK_MAKERS = {"hierarchy": Hierarchy, "sam_auto": SamAuto}
SEGMENTERS = {"superpixels": Superpixels, "sam": Sam}


@dataclass(frozen=True)
class RegionsParams:
    """Section `regions`.

    Attributes:
        maker: which of REGION_MAKERS; its own section holds its parameters.
    """

    maker: Literal["felzenszwalb"] = "felzenszwalb"
    felzenszwalb: Felzenszwalb = field(default_factory=Felzenszwalb)

    def build(self) -> RegionMaker:
        """The region maker that `maker` names."""
        return getattr(self, self.maker)


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

    maker: Literal["regions", "hierarchy", "sam_auto"] = "regions"
    aggregate: Literal["sum", "max"] = "sum"
    hierarchy: Hierarchy = field(default_factory=Hierarchy)
    sam_auto: SamAuto = field(default_factory=SamAuto)

    def build(self) -> MaskMaker | None:
        """The maker that `maker` names; None for regions, which are there already."""
        return None if self.maker == "regions" else getattr(self, self.maker).build()


__all__ = [
    "MASK_MAKERS",
    "REGION_MAKERS",
    "SEGMENTERS",
    "BoxSegmenter",
    "Felzenszwalb",
    "Hierarchy",
    "MaskMaker",
    "MasksParams",
    "RegionMaker",
    "RegionsParams",
    "Sam",
    "SamAuto",
    "Superpixels",
]
