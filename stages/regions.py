"""regions: class-agnostic regions of every picture, and the frozen features pooled over them."""

from __future__ import annotations

from captionseg.params import Params
from captionseg.regioning import write_regions
from stages.kinds import In, Out

PARAMS = ("seed", "regions")


def main(params: Params, *, pairs: In, features: In, regions: Out) -> dict[str, float]:
    """Regions of every picture, and the frozen features pooled over them."""
    return write_regions(
        pairs, features, regions, maker=params.regions.build(), runtime=params.runtime
    )
