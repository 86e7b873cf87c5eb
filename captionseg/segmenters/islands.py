"""Small holes filled and small islands dropped: segment-anything's post-processing, by scipy
instead of OpenCV.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool


def remove_small_parts(
    mask: Bool[np.ndarray, "height width"], area: int
) -> Bool[np.ndarray, "height width"]:
    """Fill holes, then drop islands, that are smaller than `area` pixels (8-connected).

    Args:
        mask: of one thing.
        area: in pixels; 0 changes nothing.

    Returns:
        If all islands are small, the largest stays.
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
