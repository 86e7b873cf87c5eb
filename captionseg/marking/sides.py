"""Pictures with too short a side, or too long a one for the other; as they came, before any
resizing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge

from captionseg.marking.marker import MarkedRows, Rows
from captionseg.typed import Count


@dataclass(frozen=True)
class Sides:
    """By the sides of a picture.

    Attributes:
        min_side: of the shorter side, in pixels.
        max_aspect: of the longer side as a multiple of the shorter.
    """

    min_side: Count = 1
    max_aspect: Annotated[float, Ge(1)] | None = None

    kinds: ClassVar[tuple[str, ...]] = ("picture_small", "picture_aspect")
    reads: ClassVar[str] = "picture"

    def __call__(self, rows: Rows, kept: np.ndarray, *, seed: int = 0) -> MarkedRows:
        """See Marker."""
        short, long = np.minimum(rows.width, rows.height), np.maximum(rows.width, rows.height)
        marked = []
        for kind, wrong in (
            ("picture_small", short < self.min_side),
            (
                "picture_aspect",
                np.zeros(len(rows), bool)
                if self.max_aspect is None
                else long > self.max_aspect * short,
            ),
        ):
            row = np.flatnonzero(kept & wrong)
            sides = zip(rows.width[row].tolist(), rows.height[row].tolist(), strict=True)
            marked.append(
                MarkedRows.without_twins(row, kind, [f"picture of {w} x {h}" for w, h in sides])
            )
        return marked[0] + marked[1]
