"""Pictures as grids: normalised, squashed to a square; which cells of a coarser grid speak for
which region.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Integer, Num, UInt8
from PIL import Image

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet: by what models that read pixels have them normalised."""


class Window(NamedTuple):
    """Where a picture lies in a grid, in lengths of the grid: beyond 0 and 1 it is cut away, the
    rest is padded.
    """

    top: float = 0.0
    left: float = 0.0
    bottom: float = 1.0
    right: float = 1.0


def region_weights(
    inside: Bool[np.ndarray, "region height width"], grid: tuple[int, int]
) -> Float32[np.ndarray, "region {grid[0]*grid[1]}"]:
    """Weights by which a map on a grid, bilinearly upsampled, has its mean over each region.

    Nothing is upsampled: the mean is linear in the map, so each region's indicator is reduced to
    the grid by the transposed interpolation matrices.

    Args:
        inside: indicators.
        grid: rows and columns of the grid.

    Returns:
        Rows sum to one, those of empty regions to zero.
    """
    columns = inside.astype(np.float32) @ interpolation(inside.shape[2], grid[1])  # [n, H, gw]
    weights = interpolation(inside.shape[1], grid[0]).T @ columns  # [n, gh, gw]
    area = np.maximum(inside.sum(axis=(1, 2)), 1).astype(np.float32)
    return weights.reshape(len(inside), grid[0] * grid[1]) / area[:, None]


def shares(
    inside: Bool[np.ndarray, "region height width"],
    grid: tuple[int, int],
    window: Window | None = None,
) -> Float32[np.ndarray, "region {grid[0]} {grid[1]}"]:
    """How much of each cell of a grid lies inside: areas, whatever the sizes.

    Args:
        inside: indicators.
        grid: rows and columns of the grid.
        window: of the picture in the grid; None fills it.

    Returns:
        In 0..1; their mean is the share of the grid.
    """
    height, width = inside.shape[1:]
    if window is None:
        rows, columns = overlap(height, grid[0]), overlap(width, grid[1])
    else:
        rows = overlap_within(height, grid[0], window.top, window.bottom)
        columns = overlap_within(width, grid[1], window.left, window.right)
    return rows.T @ (inside.astype(np.float32) @ columns)


def indicators(
    labels: Integer[np.ndarray, "height width"], count: int
) -> Bool[np.ndarray, "{count} height width"]:
    """Where labels are 0, 1, ..."""
    return labels[None] == np.arange(count)[:, None, None]


@lru_cache(maxsize=16)
def overlap(fine: int, coarse: int) -> Float32[np.ndarray, "{fine} {coarse}"]:
    """The share of each of `coarse` cells that each of `fine` pixels covers.

    Columns sum to one. Pixels and cells divide the same length evenly; either may be the smaller.
    """
    return overlap_within(fine, coarse, 0.0, 1.0)


def overlap_within(
    fine: int, coarse: int, start: float, end: float
) -> Float32[np.ndarray, "{fine} {coarse}"]:
    """`overlap` of pixels that divide what lies from `start` to `end` of the length of the
    cells.
    """
    pixels, cells = (
        start + (end - start) * (np.arange(fine + 1) / fine),
        np.arange(coarse + 1) / coarse,
    )
    return (coarse * common_lengths(np.stack([pixels[:-1], pixels[1:]], axis=1), cells)).astype(
        np.float32
    )


def common_lengths(
    intervals: Num[np.ndarray, "interval 2"], edges: Num[np.ndarray, " edge"]
) -> Float[np.ndarray, "interval edge-1"]:
    """The length that each interval has in common with each of the cells between the edges."""
    return np.maximum(
        0.0, np.minimum(intervals[:, 1:], edges[1:]) - np.maximum(intervals[:, :1], edges[:-1])
    )


@lru_cache(maxsize=16)
def interpolation(fine: int, coarse: int) -> Float32[np.ndarray, "{fine} {coarse}"]:
    """Rows of weights that sum to one; bilinear with pixel centres at halves.

    `interpolation(H, gh) @ map @ interpolation(W, gw).T` is what torch's
    `interpolate(mode="bilinear", align_corners=False)` computes for upsampling.
    """
    position = np.clip((np.arange(fine) + 0.5) * coarse / fine - 0.5, 0, coarse - 1)
    return np.maximum(0.0, 1.0 - np.abs(position[:, None] - np.arange(coarse))).astype(np.float32)


def squash(
    image: UInt8[np.ndarray, "height width 3"], size: int
) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """The whole image, its aspect ratio given up so that the grid covers all of it."""
    if image.shape[:2] == (size, size):
        return image
    return np.array(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
