"""Refinement of mask logits after any model: along the edges of the picture, or by its classical
segments.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import MinLen

from captionseg.inference.pamr import DILATIONS
from captionseg.typed import Count, Natural


@dataclass(frozen=True)
class RefineParams:
    """What is done to mask logits before each pixel takes its best class.

    Attributes:
        method: none; pamr (CoCu's local consistency, and what TCL and CoDe do at last); segments
            gives each class the mean of its logits over each class-agnostic region.
        side: PAMR works on a grid of so many cells along the short side, a quarter of the window in
            TCL.
        iterations, dilations: of PAMR.
    """

    method: Literal["none", "pamr", "segments"] = "none"
    side: Count = 112
    iterations: Natural = 10
    dilations: Annotated[list[Count], MinLen(1)] = field(default_factory=lambda: list(DILATIONS))

    def __post_init__(self) -> None:
        if self.side < 1 or self.iterations < 0 or not self.dilations or min(self.dilations) < 1:
            raise ValueError("refine: side and dilations must be at least 1, iterations at least 0")
