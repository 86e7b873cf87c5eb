"""Masks: class-agnostic regions of whole pictures, and masks for boxes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from captionseg.segmenters.felzenszwalb import Felzenszwalb
from captionseg.segmenters.sam import Sam
from captionseg.segmenters.segmenter import BoxSegmenter, RegionMaker
from captionseg.segmenters.superpixels import Superpixels

REGION_MAKERS = {"felzenszwalb": Felzenszwalb}
SEGMENTERS = {"superpixels": Superpixels, "sam": Sam}


@dataclass(frozen=True)
class RegionsParams:
    """Section `regions`.

    Attributes:
        maker: which of REGION_MAKERS; its own section holds its parameters.
        workers: processes; 0 takes one a core.
    """

    maker: Literal["felzenszwalb"] = "felzenszwalb"
    workers: int = 0
    felzenszwalb: Felzenszwalb = field(default_factory=Felzenszwalb)

    def build(self) -> RegionMaker:
        """The region maker that `maker` names."""
        return getattr(self, self.maker)


__all__ = [
    "REGION_MAKERS",
    "SEGMENTERS",
    "BoxSegmenter",
    "Felzenszwalb",
    "RegionMaker",
    "RegionsParams",
    "Sam",
    "Superpixels",
]
