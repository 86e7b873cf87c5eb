"""Pixel-adaptive mask refinement (Araslanov and Roth, 2020): masks follow the edges of the picture.

CoCu's "local consistency" and the last step of TCL and CoDe. Each iteration replaces a mask by a
mean over 48 neighbours, weighted by the similarity of their colours. The weights are a sparse
matrix between pixels, shared by all masks and iterations, so that no tensor over masks and
neighbours is needed. It runs on a grid that is coarser than the picture; nothing here is of the
size of the picture and of all masks.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor
from torch.nn import functional as F

DILATIONS = (1, 2, 4, 8, 12, 24)
TOGETHER = 32  # masks that are refined at once on the CPU
STEPS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))


def pamr(
    image: Float[Tensor, "3 _height _width"],
    masks: Float[Tensor, "class height width"],
    *,
    iterations: int = 10,
    dilations: Sequence[int] = DILATIONS,
) -> Float32[Tensor, "class height width"]:
    """Refine masks; constant masks stay unchanged, and all stay within their range.

    Args:
        image: picture, with channels in any affine scale; resized to the masks (bilinear).
        masks: logits or probabilities.
        iterations: number of iterations.
        dilations: distances of the 3 x 3 neighbourhoods.
    """
    size = (masks.shape[1], masks.shape[2])
    if image.shape[1:] != masks.shape[1:]:
        image = F.interpolate(image[None].float(), size, mode="bilinear", align_corners=True)[0]
    masks, weights = masks.float(), weigh_neighbours(image.float(), dilations)
    if masks.is_cuda or not torch.backends.mkl.is_available():
        return add_slices(masks, weights, dilations, iterations)
    index = index_neighbours(size, dilations)
    return multiply_sparse(masks.flatten(1), weights.flatten(1), index, iterations).view_as(masks)


def size_grid(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Return rows and columns of the grid for a picture of (height, width), with `side` cells along
    its short side.
    """
    scale = side / min(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def resize(
    masks: Float[Tensor, "class _rows _columns"], size: tuple[int, int]
) -> Float[Tensor, "class {size[0]} {size[1]}"]:
    """Resize masks (bilinear)."""
    return F.interpolate(masks[None].float(), size, mode="bilinear", align_corners=False)[0]


def multiply_sparse(
    out: Float32[Tensor, "class pixel"],
    weights: Float32[Tensor, "neighbour pixel"],
    index: Int64[Tensor, "neighbour pixel"],
    iterations: int,
) -> Float32[Tensor, "class pixel"]:
    """Multiply masks `iterations` times by the sparse matrix of weights at index, on the CPU.

    A few masks go through all iterations before the next, so that they stay in the processor's
    cache.
    """
    count, pixels = weights.shape
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        matrix = torch.sparse_csr_tensor(
            torch.arange(0, count * pixels + 1, count, dtype=torch.int32),
            index.T.flatten().to(torch.int32),
            weights.T.flatten(),
            (pixels, pixels),
            check_invariants=False,
        )
    done = []
    for part in out.split(TOGETHER):
        columns = part.T.contiguous()
        for _ in range(iterations):
            columns = matrix @ columns
        done.append(columns.T)
    return torch.cat(done)


def add_slices(
    masks: Float32[Tensor, "class height width"],
    weights: Float32[Tensor, "neighbour height width"],
    dilations: Sequence[int],
    iterations: int,
) -> Float32[Tensor, "class height width"]:
    """Compute the same as `multiply_sparse`, on GPUs and on processors without MKL: neighbours are
    slices of the masks with a margin.
    """
    done = []
    for part in masks.split(len(masks) if masks.is_cuda else TOGETHER):
        for _ in range(iterations):
            total = torch.zeros_like(part)
            for weight, neighbour in zip(weights, take_neighbours(part, dilations), strict=True):
                total.addcmul_(neighbour, weight)
            part = total
        done.append(part)
    return torch.cat(done)


def weigh_neighbours(
    image: Float[Tensor, "channel height width"], dilations: Sequence[int] = DILATIONS
) -> Float[Tensor, "neighbour height width"]:
    """Compute the weight of each neighbour, a softmax over all (8 per dilation) of -|x - x_n| /
    (1e-8 + .1 s).

    s is the unbiased deviation over all 3 x 3 neighbourhoods of a pixel, which include its own
    value once each; distances are means over the channels of the image.
    """
    around = torch.stack(list(take_neighbours(image, dilations)))  # [K, 3, H, W]
    neighbourhood = torch.cat([around, image.expand(len(dilations), -1, -1, -1)])
    scale = 1e-8 + 0.1 * neighbourhood.std(0)
    return around.sub_(image).abs_().div_(scale).mean(1).neg_().softmax(0)


def take_neighbours(
    maps: Float[Tensor, "channel height width"], dilations: Sequence[int]
) -> Iterator[Float[Tensor, "channel height width"]]:
    """Yield maps of each neighbour, as slices; beyond the border it is the nearest pixel inside."""
    (height, width), margin = maps.shape[1:], max(dilations)
    wide = F.pad(maps[None], (margin,) * 4, mode="replicate")[0]
    for dilation in dilations:
        for dy, dx in STEPS:
            top, left = margin + dilation * dy, margin + dilation * dx
            yield wide[:, top : top + height, left : left + width]


def index_neighbours(
    size: tuple[int, int], dilations: Sequence[int]
) -> Int64[Tensor, "neighbour {size[0]*size[1]}"]:
    """Return the number of each pixel's neighbour, row by row."""
    numbers = torch.arange(size[0] * size[1], dtype=torch.float64).view(1, *size)
    return torch.stack(list(take_neighbours(numbers, dilations))).flatten(1).long()
