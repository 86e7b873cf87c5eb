"""Near-duplicate images: perceptual hashes that differ in few of their 64 bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Interval

from captionseg.marking.hamming import MOST, find_near_codes
from captionseg.marking.marker import MarkedRows, Rows
from captionseg.marking.twins import Pictures, mark_followers


@dataclass(frozen=True)
class Near:
    """Keeps one of several images whose hashes are near each other; see `find_leaders`.

    Attributes:
        distance: bits that hashes may differ in. Copies that were resized or recompressed differ in
            0 to 4; see docs/methods/marks.md for what else is near.
    """

    distance: Annotated[int, Interval(ge=0, le=MOST)] = 4

    kinds: ClassVar[tuple[str, ...]] = ("near_duplicate", "leak")
    reads: ClassVar[str] = "picture"

    def __call__(self, rows: Rows, kept: np.ndarray, *, seed: int = 0) -> MarkedRows:
        """See Marker."""
        pictures = Pictures.list_candidates(rows, kept).filter(rows.hashed)
        leader = find_near_codes(
            rows.phash[pictures.row], self.distance, forced=int(pictures.held_out.sum())
        )

        def describe_distance(row: np.ndarray, twin: np.ndarray) -> list[str]:
            differing = np.bitwise_count(rows.phash[row] ^ rows.phash[twin])
            return [f" (distance {n})" for n in differing.tolist()]

        return mark_followers(rows, kept, pictures, leader, "near", describe_distance)
