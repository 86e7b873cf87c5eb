"""Class-agnostic regions without weights: graph-based segmentation (Felzenszwalb and Huttenlocher,
IJCV 2004), merged.

Felzenszwalb's graph alone either splits a thing into many pieces or merges it with the background,
and returns any number of regions. So it only makes small pieces here, which are merged like Ward's
clusters: always the two neighbours whose union increases the squared deviations of colour least.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from captionseg.typed import Count, Natural, ZeroOrMore


@dataclass(frozen=True)
class Felzenszwalb:
    """Regions of even colour, on a small square copy of the picture.

    Attributes:
        side: the picture is squashed to [side, side] pixels, so that regions lie on a grid of one
            size.
        median: side of a median filter that takes out grain; odd, 1 is none.
        sigma: of the Gaussian that smooths before edges are weighed, in pixels of the small copy.
        scale: larger makes larger pieces (k of the paper, for colours in 0..255).
        min_size: smaller pieces join a neighbour, in pixels of the small copy.
        max_regions: pieces are joined until there are no more than these ...
        min_cost: ... and no two neighbours can be joined at a lower cost, in squared units of
            CIELAB times pixels.
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
        """What is joined: [side, side] ids from 0 without gaps, and the CIELAB colours [side, side,
        3] below them.
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
    """Join the two touching regions of least cost until at most `most` are left and no cost is
    below `cost`.

    Args:
        labels: [H, W] ids from 0, without gaps.
        colours: [H, W, C].
        most: at least 1.
        cost: 0 joins no more than `most` asks for.

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
    """One join after another, until one region is left: the region that stays, the one that goes
    into it, the cost.

    The cost of joining regions of a and b pixels is ab / (a + b) times the squared distance of
    their mean colours: by so much their squared deviations from the mean grow (Ward 1963).

    Args:
        labels: [H, W] ids from 0, without gaps.
        colours: [H, W, C].
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
    """[count] cost of joining region i with each other; infinite where they do not touch."""
    distance = ((mean - mean[i]) ** 2).sum(axis=1)
    return np.where(touching[i], distance * area * area[i] / (area + area[i]), np.inf)


def find_adjacent(labels: np.ndarray, count: int) -> np.ndarray:
    """[count, count] bool, symmetric: do two regions share an edge of a pixel?"""
    touching = np.zeros((count, count), bool)
    for a, b in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
        touching[a, b] = touching[b, a] = True
    np.fill_diagonal(touching, False)
    return touching
