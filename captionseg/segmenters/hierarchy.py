"""Overlapping class-agnostic masks without weights: the most stable regions of a hierarchy of
merges.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Integer, UInt8

from captionseg.segmenters.felzenszwalb import Felzenszwalb, merge_regions
from captionseg.segmenters.interfaces import MaskMaker
from captionseg.segmenters.overlap import find_survivors
from captionseg.typed import AboveZero, Count, Natural, Share


@dataclass(frozen=True)
class Hierarchy:
    """Makes masks of the regions that occur while pieces of the picture are merged one by one.

    A region exists from the cost of the merge that made it to the cost of the merge that absorbs
    it. Its stability is the share of the range from `low` to `high`, on a logarithmic scale, in
    which it exists: an object that differs from its surroundings exists over a wide range. The
    masks need not cover the picture.

    Attributes:
        low: lower end of the range of costs, in squared CIELAB units times pixels.
        high: upper end of the range.
        max_masks: maximum number of masks, the most stable.
        min_area: smaller regions are left out, in pixels of the small copy.
        nms_iou: if regions overlap by more than this IoU, only the most stable is kept.
        maker: makes the pieces; its `max_regions` and `min_cost` are ignored.
    """

    low: AboveZero = 6000.0
    high: AboveZero = 300000.0
    max_masks: Count = 64
    min_area: Natural = 20
    nms_iou: Share = 0.8
    maker: Felzenszwalb = field(default_factory=Felzenszwalb)

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high or self.max_masks < 1:
            raise ValueError("hierarchy: low must be above 0 and below high, max_masks at least 1")

    def build(self) -> MaskMaker:
        """Return itself, because nothing has to be loaded."""
        return self

    def masks(
        self, image: UInt8[np.ndarray, "height width 3"]
    ) -> tuple[Bool[np.ndarray, "mask side side"], Float32[np.ndarray, " mask"]]:
        """See MaskMaker; masks have the size of the small copy."""
        pieces, colours = self.maker.pieces(image)
        member, birth, death = join_tree(pieces, colours)
        size = np.bincount(pieces.ravel())
        area = member @ size
        lifetime = np.log(np.clip(death, self.low, self.high) / np.clip(birth, self.low, self.high))
        stability = (lifetime / np.log(self.high / self.low)).astype(np.float32)
        good = np.flatnonzero((stability > 0) & (area >= self.min_area))
        good = good[np.lexsort((-area[good], -stability[good]))]
        intersection = (member[good] * size) @ member[good].T.astype(np.float64)
        overlap = intersection / (area[good][:, None] + area[good] - intersection)
        owner = find_survivors(overlap, np.arange(len(good)), self.nms_iou)
        selected = good[np.unique(owner)[: self.max_masks]]
        return member[selected][:, pieces], stability[selected]


def join_tree(
    labels: Integer[np.ndarray, "height width"], colours: Float[np.ndarray, "height width channel"]
) -> tuple[
    Bool[np.ndarray, "region piece"], Float64[np.ndarray, " region"], Float64[np.ndarray, " region"]
]:
    """Return all regions of the merges of `merge_regions`: pieces first, then in order of merging.

    Args:
        labels: ids of pieces, 0 to P - 1.
        colours: colours of pixels.

    Returns:
        which pieces each of the 2P - 1 regions contains; the cost at which it is made (0 for
        pieces); and the cost at which it is absorbed (infinite for the whole picture). Costs never
        decrease along the hierarchy: a merge costs at least as much as the merges before it.
    """
    count = int(labels.max()) + 1
    member = np.zeros((2 * count - 1, count), bool)
    member[:count] = np.eye(count, dtype=bool)
    birth, death = np.zeros(2 * count - 1), np.full(2 * count - 1, np.inf)
    # the current region of each piece that absorbed others
    now, level = (np.arange(count), 0.0)
    for number, (into, gone, cost) in enumerate(merge_regions(labels, colours), start=count):
        level = max(level, cost)
        parts = [now[into], now[gone]]
        member[number] = member[parts].any(axis=0)
        birth[number] = death[parts] = level
        now[into] = number
    return member, birth, death
