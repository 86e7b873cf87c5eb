"""Class-agnostic regions without weights: graph-based segmentation (Felzenszwalb and Huttenlocher, IJCV 2004)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter


@dataclass(frozen=True)
class Felzenszwalb:
    """Regions of even colour, on a small square copy of the picture.

    Attributes:
        side: the picture is squashed to [side, side] pixels, so that regions lie on a grid of one size.
        median: side of the median filter that takes grain out of photographed textures; odd, 1 is none.
        sigma: of the Gaussian that smooths before edges are weighed, in pixels of the small copy.
        scale: larger makes larger regions (k of the paper, for colours in 0..255).
        min_size: smaller regions join a neighbour, in pixels of the small copy.
        max_regions: while there are more, the smallest joins the neighbour that is nearest in colour.
    """

    side: int = 112
    median: int = 3
    sigma: float = 0.8
    scale: float = 150.0
    min_size: int = 60
    max_regions: int = 32

    def __post_init__(self) -> None:
        if not 1 <= self.max_regions <= 255:
            raise ValueError(f"max_regions must lie in 1..255, not {self.max_regions}")
        if self.median < 1 or self.median % 2 == 0:
            raise ValueError(f"median must be an odd number, not {self.median}")

    def regions(self, image: np.ndarray) -> np.ndarray:
        """See RegionMaker."""
        from skimage.segmentation import felzenszwalb

        small = Image.fromarray(image).resize((self.side, self.side), Image.Resampling.BILINEAR)
        if self.median > 1:
            small = small.filter(ImageFilter.MedianFilter(self.median))
        pixels = np.asarray(small)
        labels = felzenszwalb(pixels, scale=self.scale, sigma=self.sigma, min_size=self.min_size)
        return merge_smallest(labels, pixels, self.max_regions).astype(np.uint8)


def merge_smallest(labels: np.ndarray, pixels: np.ndarray, most: int) -> np.ndarray:
    """Join the smallest region to its neighbour of nearest mean colour until at most `most` are left.

    Args:
        labels: [H, W] ids from 0, without gaps.
        pixels: [H, W, 3] colours.
        most: at least 1.

    Returns:
        [H, W] ids from 0, without gaps.
    """
    count = int(labels.max()) + 1
    if count <= most:
        return labels
    flat = labels.ravel()
    area = np.bincount(flat).astype(np.float64)
    colour = np.stack([np.bincount(flat, weights=c) for c in pixels.reshape(-1, 3).T], axis=1)  # sums, not means
    touching = adjacency(labels, count)
    owner = np.arange(count)
    for _ in range(count - most):
        small = int(np.argmin(np.where(area > 0, area, np.inf)))
        near = np.flatnonzero(touching[small])
        distance = np.linalg.norm(colour[near] / area[near, None] - colour[small] / area[small], axis=1)
        into = int(near[np.argmin(distance)])
        owner[owner == small] = into
        area[into] += area[small]
        colour[into] += colour[small]
        area[small] = 0
        touching[into] |= touching[small]
        touching[:, into] |= touching[:, small]
        touching[small] = touching[:, small] = False
        touching[into, into] = False
    return np.unique(owner, return_inverse=True)[1][labels]


def adjacency(labels: np.ndarray, count: int) -> np.ndarray:
    """[count, count] bool, symmetric: do two regions share an edge of a pixel?"""
    touching = np.zeros((count, count), bool)
    for a, b in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
        touching[a, b] = touching[b, a] = True
    np.fill_diagonal(touching, False)
    return touching
