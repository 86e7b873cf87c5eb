"""regions: class-agnostic regions of every picture."""

from __future__ import annotations

from captionseg.params import Params
from captionseg.regioning import write_regions
from stages.kinds import In, Out

PARAMS = ("seed", "regions")


def main(params: Params, *, pairs: In, regions: Out) -> dict[str, float]:
    """Make regions of every picture."""
    return write_regions(pairs, regions, maker=params.regions.build(), runtime=params.runtime)
