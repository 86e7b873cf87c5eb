"""Labels of pixels from the scores of regions or of a coarse grid, without the scores of all
pixels: for a hundred labels and a picture of three million pixels these are a gigabyte.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from captionseg.inference.pamr import resize

BLOCK = 1 << 24  # scores of pixels at once


def contrast_regions(
    scores: Float[Tensor, "class region"], region: Int64[Tensor, "height width"], share: float
) -> Float[Tensor, "class region"]:
    """Return the scores by regions of what captionseg.inference.contrast makes of those of pixels.

    Args:
        scores: scores of regions.
        region: number of each pixel's region.
        share: see `contrast_labels`.
    """
    if not share:
        return scores
    size = torch.bincount(region.flatten(), minlength=scores.shape[1])
    mean = (scores.double() @ size.double() / region.numel()).to(scores.dtype)
    return scores - share * mean[:, None]


def sample_regions(
    scores: Float[Tensor, "class region"],
    region: Int64[Tensor, "height width"],
    grid: tuple[int, int],
) -> Float32[Tensor, "class {grid[0]} {grid[1]}"]:
    """Resize the scores of pixels, each of which has those of its region, to a grid (bilinear).

    Only the four pixels around the centre of a cell are looked at, as in bilinear resizing.
    """
    (rows, down), (columns, right) = (
        find_neighbours(length, count, scores.device)
        for length, count in zip(region.shape, grid, strict=True)
    )
    top, bottom = (
        torch.lerp(
            scores[:, region[row][:, columns[0]]].float(),
            scores[:, region[row][:, columns[1]]].float(),
            right,
        )
        for row in rows
    )
    return torch.lerp(top, bottom, down[:, None])


def find_neighbours(
    length: int, count: int, device: torch.device
) -> tuple[Int64[Tensor, "2 {count}"], Float32[Tensor, " {count}"]]:
    """Return, for each of `count` cells along `length` pixels, the pixels before and after its
    centre, and the share of the second.
    """
    centre = (torch.arange(count, device=device, dtype=torch.float64) + 0.5) * length / count - 0.5
    centre = centre.clamp(0, length - 1)
    before = centre.long()
    return (torch.stack([before, (before + 1).clamp(max=length - 1)]), (centre - before).float())


def find_best(
    scores: Float[Tensor, "class _rows _columns"], size: tuple[int, int]
) -> tuple[Float32[Tensor, "{size[0]} {size[1]}"], Int64[Tensor, "{size[0]} {size[1]}"]]:
    """Return the largest score of each pixel and its class, the first of several, after resizing
    the scores (bilinear).

    Args:
        scores: scores of a grid.
        size: height and width of the picture.
    """
    together = max(1, BLOCK // (size[0] * size[1]))
    best, label = resize(scores[:together], size).max(0)
    for first in range(together, len(scores), together):
        better, other = resize(scores[first : first + together], size).max(0)
        is_better = better > best
        best = torch.where(is_better, better, best)
        label = torch.where(is_better, other + first, label)
    return best, label
