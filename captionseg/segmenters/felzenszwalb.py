"""Class-agnostic regions without weights: graph-based segmentation (Felzenszwalb and Huttenlocher,
IJCV 2004), and merging by Ward's criterion.

The graph-based segmentation alone either splits an object into many pieces or merges it with the
background, and returns any number of regions. Here it only makes small pieces. Then the two
neighbours whose union least increases the squared deviation of colours are merged, again and again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from captionseg.typed import Count, Natural, ZeroOrMore


@dataclass(frozen=True)
class Felzenszwalb:
    """Makes regions of uniform colour, on a small square copy of the picture.

    Attributes:
        side: side in pixels of the copy, to which the picture is squashed.
        median: side in pixels of a median filter against noise; odd, 1 is no filter.
        sigma: of the Gaussian filter before edge weights are computed, in pixels of the copy.
        scale: k of the paper, for colours in 0..255; larger values make larger pieces.
        min_size: smaller pieces are merged with a neighbour, in pixels of the copy.
        max_regions: maximum number of regions.
        min_cost: neighbours with a lower merging cost are merged, in squared CIELAB units times
            pixels.
    """

    side: Count = 112
    median: Count = 1
    sigma: ZeroOrMore = 0.4
    scale: ZeroOrMore = 40.0
    min_size: Natural = 20
    max_regions: Count = 32
    min_cost: ZeroOrMore = 6000.0

    def __post_init__(self) -> None:
        if not 1 <= self.max_regions <= 255:
            raise ValueError(f"max_regions must be in 1..255, found {self.max_regions}")
        if self.median < 1 or self.median % 2 == 0:
            raise ValueError(f"median must be odd, found {self.median}")

    def regions(self, image: np.ndarray) -> np.ndarray:
        """See RegionMaker."""
        return join_regions(*self.pieces(image), self.max_regions, self.min_cost).astype(np.uint8)

    def pieces(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the pieces of a picture before merging.

        Args:
            image: uint8 [H, W, 3].

        Returns:
            [side, side] ids of pieces, 0 to P - 1, and CIELAB colours [side, side, 3].
        """
        from skimage.color import rgb2lab
        from skimage.segmentation import felzenszwalb

        small = Image.fromarray(image).resize((self.side, self.side), Image.Resampling.BILINEAR)
        if self.median > 1:
            small = small.filter(ImageFilter.MedianFilter(self.median))
        pixels = np.asarray(small)
        return felzenszwalb(
            pixels, scale=self.scale, sigma=self.sigma, min_size=self.min_size
        ), rgb2lab(pixels)


def join_regions(labels: np.ndarray, colours: np.ndarray, most: int, cost: float) -> np.ndarray:
    """Merge adjacent regions in order of cost.

    Args:
        labels: [H, W] ids of regions, 0 to R - 1.
        colours: [H, W, C] colours.
        most: maximum number of regions, at least 1.
        cost: merging goes on while the lowest cost is below this; 0 stops at `most` regions.

    Returns:
        [H, W] ids from 0, without gaps.
    """
    owner = np.arange(int(labels.max()) + 1)
    for left, (into, gone, next_cost) in zip(
        range(len(owner), 1, -1), merge_regions(labels, colours), strict=True
    ):
        if left <= most and next_cost >= cost:
            break
        owner[owner == gone] = into
    return np.unique(owner, return_inverse=True)[1][labels]


def merge_regions(labels: np.ndarray, colours: np.ndarray) -> Iterator[tuple[int, int, float]]:
    """Yield merges of two adjacent regions in order of cost, until one region is left.

    The cost of merging regions of a and b pixels is ab / (a + b) times the squared distance of
    their mean colours: the increase of the squared deviation from the mean (Ward 1963).

    Args:
        labels: [H, W] ids of regions, 0 to R - 1.
        colours: [H, W, C] colours.

    Yields:
        the region that stays, the region that is merged into it, and the cost.
    """
    count = int(labels.max()) + 1
    area = np.bincount(labels.ravel()).astype(np.float64)
    mean = np.stack(
        [np.bincount(labels.ravel(), weights=c) for c in colours.reshape(labels.size, -1).T], 1
    )
    mean /= area[:, None]
    touching = find_adjacent(labels, count)
    costs = np.stack([_costs(i, area, mean, touching) for i in range(count)])
    for _ in range(count - 1):
        into, gone = divmod(int(costs.argmin()), count)
        yield into, gone, float(costs[into, gone])
        mean[into] = (mean[into] * area[into] + mean[gone] * area[gone]) / (area[into] + area[gone])
        area[into] += area[gone]
        touching[into] |= touching[gone]
        touching[into, into] = False
        touching[:, into] = touching[into]
        touching[gone] = touching[:, gone] = False
        costs[gone] = costs[:, gone] = np.inf
        costs[into] = costs[:, into] = _costs(into, area, mean, touching)


def _costs(i: int, area: np.ndarray, mean: np.ndarray, touching: np.ndarray) -> np.ndarray:
    """Return the cost [count] of merging region i with each other one; infinite if not adjacent."""
    distance = ((mean - mean[i]) ** 2).sum(axis=1)
    return np.where(touching[i], distance * area * area[i] / (area + area[i]), np.inf)


def find_adjacent(labels: np.ndarray, count: int) -> np.ndarray:
    """Return which regions are adjacent (4-connected).

    Args:
        labels: [H, W] ids of regions below `count`.
        count: number of regions.

    Returns:
        [count, count] bool, symmetric.
    """
    touching = np.zeros((count, count), bool)
    for a, b in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
        touching[a, b] = touching[b, a] = True
    np.fill_diagonal(touching, False)
    return touching
