"""Duplicate images by the SHA-256 of their original files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from captionseg.marking.marker import MarkedRows, Rows
from captionseg.marking.twins import Pictures, mark_followers


@dataclass(frozen=True)
class Exact:
    """Keeps one of several images of equal bytes."""

    kinds: ClassVar[tuple[str, ...]] = ("exact_duplicate", "leak")
    reads: ClassVar[str] = "picture"

    def __call__(self, rows: Rows, kept: np.ndarray, *, seed: int = 0) -> MarkedRows:
        """See Marker."""
        pictures = Pictures.list_candidates(rows, kept).filter(rows.digest >= 0)
        _, first, inverse = np.unique(
            rows.digest[pictures.row], return_index=True, return_inverse=True
        )
        return mark_followers(rows, kept, pictures, first[inverse], "exact")
