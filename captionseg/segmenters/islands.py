"""Fills small holes of masks and removes small islands, as segment-anything does with OpenCV."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool


def remove_small_parts(
    mask: Bool[np.ndarray, "height width"], area: int
) -> Bool[np.ndarray, "height width"]:
    """Fill holes, then remove islands, that are smaller than `area` (8-connected).

    Args:
        mask: mask of one object.
        area: minimum area in pixels; 0 changes nothing.

    Returns:
        the mask; if all islands are small, the largest is kept.
    """
    if area <= 0 or not mask.any():
        return mask
    filled = mask | ~_large(~mask, area, keep_one=False)
    return _large(filled, area, keep_one=True)


def _large(
    mask: Bool[np.ndarray, "height width"], area: int, *, keep_one: bool
) -> Bool[np.ndarray, "height width"]:
    from scipy.ndimage import label

    numbered: Any = label(mask, structure=np.ones((3, 3)))
    labels, count = numbered
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    keep = sizes >= area
    keep[0] = False
    if keep_one and count and not keep.any():
        keep[1 + int(np.argmax(sizes[1:]))] = True
    return keep[labels]
