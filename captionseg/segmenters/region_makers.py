"""Region makers by name, and section `regions` of params.yaml, which chooses one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from captionseg.segmenters.felzenszwalb import Felzenszwalb
from captionseg.segmenters.segmenter import RegionMaker
from captionseg.typed import Member

REGION_MAKERS = {"felzenszwalb": Felzenszwalb}


@dataclass(frozen=True)
class RegionsParams:
    """Section `regions`.

    Attributes:
        maker: which of REGION_MAKERS; its own section holds its parameters.
    """

    maker: Annotated[str, Member(REGION_MAKERS)] = "felzenszwalb"
    felzenszwalb: Felzenszwalb = field(default_factory=Felzenszwalb)

    def build(self) -> RegionMaker:
        """The region maker that `maker` names."""
        return getattr(self, self.maker)
