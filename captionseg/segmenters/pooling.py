"""Pools dense features over regions, and adds the geometry of each region."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Integer

from captionseg.grids import indicators, region_weights

GEOMETRY = 7
"""Number of features of `describe_geometry`."""


def pool_regions(
    dense: Float[np.ndarray, "rows columns feature"],
    labels: Integer[np.ndarray, "height width"],
    count: int,
) -> Float32[np.ndarray, "{count} feature+7"]:
    """Pool features over regions: the mean of the bilinearly upsampled map, then the geometry.

    Args:
        dense: features on a regular grid over the whole picture.
        labels: ids of regions below `count`.
        count: number of regions; features of a region without pixels are 0.
    """
    inside = indicators(labels, count)
    weights = region_weights(inside, dense.shape[:2])
    pooled = weights @ dense.reshape(-1, dense.shape[2]).astype(np.float32)
    return np.concatenate([pooled, describe_geometry(inside)], axis=1)


def describe_geometry(
    inside: Bool[np.ndarray, "region height width"],
) -> Float32[np.ndarray, "region 7"]:
    """Describe position and shape of regions by numbers in 0..1.

    Args:
        inside: masks of the regions.

    Returns:
        share of the picture's area; x and y of the centroid; width and height of the bounding box;
        share of the picture's border in the region; share of the bounding box in the region.
    """
    height, width = inside.shape[1:]
    rows, columns = inside.sum(2), inside.sum(1)
    area = rows.sum(1)
    full = np.maximum(area, 1)
    x = columns @ ((np.arange(width) + 0.5) / width) / full
    y = rows @ ((np.arange(height) + 0.5) / height) / full
    w, h = measure_extent(columns > 0), measure_extent(rows > 0)
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


def measure_extent(occupied: Bool[np.ndarray, "region length"]) -> Int[np.ndarray, " region"]:
    """Return the number of elements from the first to the last True of each row; 0 without any."""
    first, last = occupied.argmax(1), occupied.shape[1] - 1 - occupied[:, ::-1].argmax(1)
    return np.where(occupied.any(1), last - first + 1, 0)
