"""Region makers by name, and section `regions` of params.yaml, which chooses one."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from captionseg.constraints import Member
from captionseg.segmenters.felzenszwalb import Felzenszwalb
from captionseg.segmenters.interfaces import RegionMaker
from captionseg.segmenters.sam2_regions import Sam2Regions

REGION_MAKERS = {"felzenszwalb": Felzenszwalb, "sam2": Sam2Regions}


@dataclass(frozen=True)
class RegionsParams:
    """Section `regions`.

    Attributes:
        maker: member of REGION_MAKERS, with its own section.
    """

    maker: Annotated[str, Member(REGION_MAKERS)] = "felzenszwalb"
    felzenszwalb: Felzenszwalb = field(default_factory=Felzenszwalb)
    sam2: Sam2Regions = field(default_factory=Sam2Regions)

    def build(self) -> RegionMaker:
        """Build the chosen region maker."""
        return getattr(self, self.maker)

    def describe(self) -> dict[str, Any]:
        """Return what a saved model needs of the section: the maker and its own section."""
        return {"maker": self.maker, self.maker: asdict(getattr(self, self.maker))}
