"""Mean of a dense feature map over each region, and where the region lies."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

GEOMETRY = 7
"""Numbers that `geometry` adds to the features of a region."""


def pool_regions(dense: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Features of regions: the mean of the bilinearly upsampled map over each, then `geometry`.

    Nothing is upsampled. The mean is linear in the map, so each region's indicator is reduced to the grid by the
    transposed interpolation matrices, and one product with the map is left.

    Args:
        dense: [gh, gw, F] features on a regular grid over the whole picture.
        labels: [H, W] region ids below `count`.
        count: how many regions there are; one without a pixel gives zeros.

    Returns:
        float32 [count, F + 7].
    """
    gh, gw, width = dense.shape
    inside = labels[None] == np.arange(count, dtype=labels.dtype)[:, None, None]
    area = np.maximum(inside.sum(axis=(1, 2)), 1)
    columns = inside.astype(np.float32) @ interpolation(labels.shape[1], gw)  # [count, H, gw]
    weights = interpolation(labels.shape[0], gh).T @ columns  # [count, gh, gw]
    weights = weights.reshape(count, gh * gw) / area[:, None].astype(np.float32)
    pooled = weights @ dense.reshape(gh * gw, width).astype(np.float32)
    return np.concatenate([pooled, geometry(inside)], axis=1)


@lru_cache(maxsize=16)
def interpolation(fine: int, coarse: int) -> np.ndarray:
    """float32 [fine, coarse]: rows of weights that sum to one; bilinear with pixel centres at halves.

    `interpolation(H, gh) @ map @ interpolation(W, gw).T` is what torch's `interpolate(mode="bilinear",
    align_corners=False)` computes for upsampling.
    """
    position = np.clip((np.arange(fine) + 0.5) * coarse / fine - 0.5, 0, coarse - 1)
    return np.maximum(0.0, 1.0 - np.abs(position[:, None] - np.arange(coarse))).astype(np.float32)


def geometry(inside: np.ndarray) -> np.ndarray:
    """Where regions lie and of what shape they are, each number in 0..1.

    Args:
        inside: bool [n, H, W] indicators.

    Returns:
        float32 [n, 7]: share of the area, centroid x and y, width and height of the bounding box, share of the
        picture's border that the region holds, share of its bounding box that it fills.
    """
    height, width = inside.shape[1:]
    rows, columns = inside.sum(2), inside.sum(1)
    area = rows.sum(1)
    full = np.maximum(area, 1)
    x = columns @ ((np.arange(width) + 0.5) / width) / full
    y = rows @ ((np.arange(height) + 0.5) / height) / full
    w, h = extent(columns > 0), extent(rows > 0)
    border = inside[:, [0, -1]].sum((1, 2)) + inside[:, 1:-1, [0, -1]].sum((1, 2))
    length = 2 * width + 2 * (height - 2)
    numbers = [
        area / (height * width),
        x,
        y,
        w / width,
        h / height,
        border / length,
        area / np.maximum(w * h, 1),
    ]
    return np.stack(numbers, axis=1).astype(np.float32)


def extent(occupied: np.ndarray) -> np.ndarray:
    """[n] distance from the first to the last True of each row of bool [n, L], both counted; 0 without any."""
    first, last = occupied.argmax(1), occupied.shape[1] - 1 - occupied[:, ::-1].argmax(1)
    return np.where(occupied.any(1), last - first + 1, 0)
