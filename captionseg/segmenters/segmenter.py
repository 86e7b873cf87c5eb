"""The interfaces of this package: regions of a whole picture, masks of it that may overlap, and
masks for boxes.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class RegionMaker(Protocol):
    """Splits a picture into class-agnostic regions.

    Attributes:
        side: labels are [side, side], whatever the aspect ratio of the picture.
        max_regions: no picture has more.
    """

    @property
    def side(self) -> int: ...

    @property
    def max_regions(self) -> int: ...

    def regions(self, image: np.ndarray) -> np.ndarray:
        """uint8 [H, W, 3] -> uint8 [side, side]: contiguous region ids from 0. Deterministic."""
        ...


@runtime_checkable
class MaskMaker(Protocol):
    """Class-agnostic masks of a picture. They may overlap, and some pixels may be in none."""

    def masks(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Masks of whatever there is to see; deterministic.

        Args:
            image: uint8 [H, W, 3].

        Returns:
            bool [n, h, w] on a grid over the whole picture, of its own size or coarser, and float32
            [n] stability in 0..1: how little a mask depends on a threshold. There may be none.
        """
        ...


@runtime_checkable
class BoxSegmenter(Protocol):
    """One mask for each box of a picture."""

    def masks(
        self, image: np.ndarray, boxes: np.ndarray, *, labels: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Masks of what the boxes hold.

        Args:
            image: uint8 [H, W, 3].
            boxes: float [n, 4], x0 y0 x1 y1 in pixels, inside the picture.
            labels: regions of this picture if somebody made them already; a segmenter may ignore
                them.

        Returns:
            bool [n, H, W], and float32 [n] stability in 0..1: how little a mask changes with its
            threshold (0 for an empty mask).
        """
        ...
