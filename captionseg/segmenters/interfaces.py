"""The interfaces of this package: makers of regions, makers of masks, and segmenters of boxes."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class RegionMaker(Protocol):
    """Splits a picture into class-agnostic regions.

    Pictures of any aspect ratio are squashed to a square.
    """

    @property
    def side(self) -> int:
        """Side of the labels in pixels."""
        ...

    @property
    def max_regions(self) -> int:
        """Maximum number of regions of a picture."""
        ...

    def regions(self, image: np.ndarray) -> np.ndarray:
        """Split a picture uint8 [H, W, 3]; deterministic.

        Returns:
            uint8 [side, side]: ids of regions from 0, without gaps.
        """
        ...


@runtime_checkable
class MaskMaker(Protocol):
    """Makes class-agnostic masks of a picture, which may overlap and leave pixels out."""

    def masks(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Make the masks of a picture; deterministic.

        Args:
            image: uint8 [H, W, 3].

        Returns:
            bool [n, h, w] masks on a grid over the whole picture, of its size or coarser, n may be
            0; and float32 [n] stability in 0..1: how little a mask depends on its threshold.
        """
        ...


@runtime_checkable
class BoxSegmenter(Protocol):
    """Makes one mask for each box of a picture."""

    def masks(
        self, image: np.ndarray, boxes: np.ndarray, *, labels: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Make masks of the objects in boxes.

        Args:
            image: uint8 [H, W, 3].
            boxes: float [n, 4], x0 y0 x1 y1 in pixels, inside the picture.
            labels: [side, side] regions of the picture, if they exist already; may be ignored.

        Returns:
            bool [n, H, W] masks, and float32 [n] stability in 0..1: how little a mask depends on
            its threshold; 0 for an empty mask.
        """
        ...
