"""Class-agnostic regions by SAM 2: its masks of a grid of points, laid over each other."""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, UInt8

from captionseg.segmenters.interfaces import MaskMaker
from captionseg.segmenters.sam2_auto import Sam2Auto, load_masks
from captionseg.typed import Count, Device, Natural, Share, ZeroOrMore


@dataclass(frozen=True)
class Sam2Regions:
    """Makes regions with a SAM 2, which is loaded on first use in each process.

    Attributes:
        checkpoint: local folder of a SAM 2 of transformers, see Sam2.
        device: as in Sam2Auto.
        points: as in Sam2Auto.
        batch: as in Sam2Auto.
        min_iou: as in Sam2Auto; here SAM 2's own.
        min_stability: as in Sam2Auto; here SAM 2's own.
        offset: as in Sam2Auto.
        nms_iou: as in Sam2Auto.
        small_area: as in Sam2Auto.
        max_masks: as in Sam2Auto.
        longest: as in Sam2Auto.
        side: side in pixels of the regions.
        max_regions: maximum number of regions, of which one is what no mask covers.
    """

    checkpoint: str = ""
    device: Device = "auto"
    points: Count = 32
    batch: Count = 64
    min_iou: Share = 0.8
    min_stability: Share = 0.95
    offset: ZeroOrMore = 1.0
    nms_iou: Share = 0.7
    small_area: Natural = 100
    max_masks: Count = 256
    longest: Count = 1024
    side: Count = 112
    max_regions: Count = 32

    def __post_init__(self) -> None:
        if self.max_regions > 255:
            raise ValueError(f"max_regions must be in 1..255, found {self.max_regions}")

    def regions(self, image: np.ndarray) -> np.ndarray:
        """See RegionMaker.

        Raises:
            UserError: if the checkpoint is missing or invalid.
        """
        names = [field.name for field in fields(Sam2Auto)]
        maker = load_once(Sam2Auto(**{name: getattr(self, name) for name in names}))
        return lay_over(maker.masks(image)[0], self.side, self.max_regions)


@functools.lru_cache(maxsize=1)
def load_once(params: Sam2Auto) -> MaskMaker:
    """Load the maker of masks; the same one for the same params."""
    return load_masks(params, "regions.sam2.checkpoint")


def lay_over(
    masks: Bool[np.ndarray, "mask height width"], side: int, most: int
) -> UInt8[np.ndarray, "{side} {side}"]:
    """Lay masks over each other, the smallest on top, so that parts stay visible on their wholes.

    Args:
        masks: masks that may overlap.
        side: side of the regions in pixels, taken at the centres of their cells.
        most: maximum number of regions; of more masks the largest are taken.

    Returns:
        ids of regions from 0, without gaps.
    """
    rows, columns = (((np.arange(side) + 0.5) * n / side).astype(int) for n in masks.shape[1:])
    small = masks[:, rows[:, None], columns]
    largest = np.argsort(-small.sum((1, 2)), kind="stable")[: most - 1]
    labels = np.zeros((side, side), np.intp)
    for number, mask in enumerate(largest, 1):
        labels[small[mask]] = number
    return np.unique(labels, return_inverse=True)[1].reshape(side, side).astype(np.uint8)
