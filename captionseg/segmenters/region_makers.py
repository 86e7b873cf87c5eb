"""Region makers by name, and section `regions` of params.yaml, which chooses one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from captionseg.constraints import Member
from captionseg.segmenters.felzenszwalb import Felzenszwalb
from captionseg.segmenters.interfaces import RegionMaker

REGION_MAKERS = {"felzenszwalb": Felzenszwalb}


@dataclass(frozen=True)
class RegionsParams:
    """Section `regions`.

    Attributes:
        maker: member of REGION_MAKERS, with its own section.
    """

    maker: Annotated[str, Member(REGION_MAKERS)] = "felzenszwalb"
    felzenszwalb: Felzenszwalb = field(default_factory=Felzenszwalb)

    def build(self) -> RegionMaker:
        """Build the chosen region maker."""
        return getattr(self, self.maker)
