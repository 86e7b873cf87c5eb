"""Refines the mask logits of any model, along the edges of the picture or by its regions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import MinLen

from captionseg.inference.pamr import DILATIONS
from captionseg.typed import Count, Natural


@dataclass(frozen=True)
class RefineParams:
    """Refinement of mask logits before each pixel takes its best class.

    Attributes:
        method: none; pamr (CoCu's local consistency, and the last step of TCL and CoDe); segments
            averages the logits of each class over each class-agnostic region.
        side: number of cells along the short side of PAMR's grid; in TCL a quarter of the window.
        iterations, dilations: parameters of PAMR.
    """

    method: Literal["none", "pamr", "segments"] = "none"
    side: Count = 112
    iterations: Natural = 10
    dilations: Annotated[list[Count], MinLen(1)] = field(default_factory=lambda: list(DILATIONS))

    def __post_init__(self) -> None:
        if self.side < 1 or self.iterations < 0 or not self.dilations or min(self.dilations) < 1:
            raise ValueError("refine: side and dilations must be at least 1, iterations at least 0")
