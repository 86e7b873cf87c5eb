"""regions: class-agnostic regions of every picture, with frozen features pooled over them."""

from __future__ import annotations

from captionseg.params import Params
from captionseg.regioning import write_regions
from stages.kinds import In, Out

PARAMS = ("seed", "regions")


def main(params: Params, *, pairs: In, features: In, regions: Out) -> dict[str, float]:
    """Make regions of every picture and pool the frozen features over them."""
    return write_regions(
        pairs, features, regions, maker=params.regions.build(), runtime=params.runtime
    )
