"""Class-agnostic masks without weights: the regions of a tree of joins, so that small ones lie
inside large ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Integer, UInt8

from captionseg.segmenters.felzenszwalb import Felzenszwalb, merge_regions
from captionseg.segmenters.overlap import find_survivors
from captionseg.segmenters.segmenter import MaskMaker
from captionseg.typed import AboveZero, Count, Natural, Share


@dataclass(frozen=True)
class Hierarchy:
    """Pieces of the picture are joined two by two until one is left; every region on the way may be
    a mask.

    A region exists from the cost of the join that made it to the cost of the join that takes it in.
    Its stability is the share of the range from `low` to `high` (of logarithms) in which it exists:
    a thing that is unlike all around it stays what it is over a wide range. At each cost the
    regions that exist cover the picture; the masks need not, as there are no more than `max_masks`.

    Attributes:
        low, high: costs between which regions are looked for, in squared units of CIELAB times
            pixels.
        max_masks: no picture has more; the most stable are kept.
        min_area: smaller regions are left out, in pixels of the small copy.
        nms_iou: of regions that overlap by more the most stable is kept, of equals the larger.
        maker: makes the pieces; `max_regions` and `min_cost` play no part.
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
        """Itself: nothing has to be loaded."""
        return self

    def masks(
        self, image: UInt8[np.ndarray, "height width 3"]
    ) -> tuple[Bool[np.ndarray, "mask side side"], Float32[np.ndarray, " mask"]]:
        """See MaskMaker; masks lie on the small copy."""
        pieces, colours = self.maker.pieces(image)
        member, birth, death = join_tree(pieces, colours)
        size = np.bincount(pieces.ravel())
        area = member @ size
        lifetime = np.log(np.clip(death, self.low, self.high) / np.clip(birth, self.low, self.high))
        stability = (lifetime / np.log(self.high / self.low)).astype(np.float32)
        good = np.flatnonzero((stability > 0) & (area >= self.min_area))
        good = good[np.lexsort((-area[good], -stability[good]))]
        both = (member[good] * size) @ member[good].T.astype(np.float64)
        overlap = both / (area[good][:, None] + area[good] - both)
        owner = find_survivors(overlap, np.arange(len(good)), self.nms_iou)
        selected = good[np.unique(owner)[: self.max_masks]]
        return member[selected][:, pieces], stability[selected]


def join_tree(
    labels: Integer[np.ndarray, "height width"], colours: Float[np.ndarray, "height width channel"]
) -> tuple[
    Bool[np.ndarray, "region piece"], Float64[np.ndarray, " region"], Float64[np.ndarray, " region"]
]:
    """All regions of the joins of `merge_regions`, the pieces first, then in the order in which
    they are made.

    Args:
        labels: ids of P pieces from 0, without gaps.
        colours: of the pixels.

    Returns:
        Which pieces each of the 2P - 1 regions holds; the costs at which it is made, 0 for pieces,
        and at which it is taken in, infinite for the whole picture. Costs never fall on the
        way up: a join that a costlier one made possible counts as much as that one.
    """
    count = int(labels.max()) + 1
    member = np.zeros((2 * count - 1, count), bool)
    member[:count] = np.eye(count, dtype=bool)
    birth, death = np.zeros(2 * count - 1), np.full(2 * count - 1, np.inf)
    # the region that stands for each piece which stayed in its joins
    now, level = (np.arange(count), 0.0)
    for number, (into, gone, cost) in enumerate(merge_regions(labels, colours), start=count):
        level = max(level, cost)
        parts = [now[into], now[gone]]
        member[number] = member[parts].any(axis=0)
        birth[number] = death[parts] = level
        now[into] = number
    return member, birth, death
