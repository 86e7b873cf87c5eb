"""Pictures as grids: normalising, squashing to a square, and weights of grid cells for regions."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Integer, Num, UInt8
from PIL import Image

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and deviation of ImageNet, by which models that read pixels normalise them."""


class Window(NamedTuple):
    """Position of a picture in a grid, in units of the grid: parts beyond 0 and 1 are cropped, the
    rest of the grid is padded.
    """

    top: float = 0.0
    left: float = 0.0
    bottom: float = 1.0
    right: float = 1.0


def region_weights(
    inside: Bool[np.ndarray, "region height width"], grid: tuple[int, int]
) -> Float32[np.ndarray, "region {grid[0]*grid[1]}"]:
    """Compute the weights of grid cells that give the mean over each region of a bilinearly
    upsampled map.

    Nothing is upsampled: the mean is linear in the map, so each region's indicator is reduced to
    the grid with the transposed interpolation matrices.

    Args:
        inside: indicators.
        grid: rows and columns of the grid.

    Returns:
        rows that sum to one, or to zero for empty regions.
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
    """Compute the share of each grid cell that lies inside a region, by area, for any sizes.

    Args:
        inside: indicators.
        grid: rows and columns of the grid.
        window: position of the picture in the grid; None fills it.

    Returns:
        shares in 0..1; their mean is the region's share of the grid.
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
    """Return the indicators of labels 0, 1, ..."""
    return labels[None] == np.arange(count)[:, None, None]


@lru_cache(maxsize=16)
def overlap(fine: int, coarse: int) -> Float32[np.ndarray, "{fine} {coarse}"]:
    """Return the share of each of `coarse` cells that each of `fine` pixels covers.

    Columns sum to one. Pixels and cells divide the same length evenly; either may be smaller.
    """
    return overlap_within(fine, coarse, 0.0, 1.0)


def overlap_within(
    fine: int, coarse: int, start: float, end: float
) -> Float32[np.ndarray, "{fine} {coarse}"]:
    """Return `overlap` for pixels that cover only `start` to `end` of the length of the cells."""
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
    """Return the length of the intersection of each interval with each cell between the edges."""
    return np.maximum(
        0.0, np.minimum(intervals[:, 1:], edges[1:]) - np.maximum(intervals[:, :1], edges[:-1])
    )


@lru_cache(maxsize=16)
def interpolation(fine: int, coarse: int) -> Float32[np.ndarray, "{fine} {coarse}"]:
    """Return bilinear interpolation weights with pixel centres at halves; rows sum to one.

    `interpolation(H, gh) @ map @ interpolation(W, gw).T` is what torch's
    `interpolate(mode="bilinear", align_corners=False)` computes for upsampling.
    """
    position = np.clip((np.arange(fine) + 0.5) * coarse / fine - 0.5, 0, coarse - 1)
    return np.maximum(0.0, 1.0 - np.abs(position[:, None] - np.arange(coarse))).astype(np.float32)


def squash(
    image: UInt8[np.ndarray, "height width 3"], size: int
) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """Resize a picture to a square without keeping its aspect ratio, so that the grid covers it."""
    if image.shape[:2] == (size, size):
        return image
    return np.array(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
