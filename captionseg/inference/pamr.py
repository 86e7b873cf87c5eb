"""Pixel-adaptive mask refinement (Araslanov and Roth, 2020): masks follow the edges of the picture.

CoCu's "local consistency" and the last step of TCL and CoDe. Each iteration replaces a mask by a
mean over 48 neighbours, weighted by the similarity of their colours. The weights are a sparse
matrix between pixels, shared by all masks and iterations, so that no tensor over masks and
neighbours is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, Num
from scipy.sparse import csr_array
from torch import Tensor
from torch.nn import functional as F

DILATIONS = (1, 2, 4, 8, 12, 24)
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
    out = masks.float().flatten(1)
    weights, index = (
        weigh_neighbours(image.float(), dilations).flatten(1),
        index_neighbours(size, dilations, image.device),
    )
    product = gather_neighbours if out.is_cuda else multiply_sparse
    return product(out, weights, index, iterations).reshape(masks.shape)


def refine_on_grid(
    image: Float[Tensor, "3 _height _width"],
    masks: Float[Tensor, "class height width"],
    *,
    side: int,
    iterations: int = 10,
    dilations: Sequence[int] = DILATIONS,
) -> Float32[Tensor, "class height width"]:
    """Refine masks on a coarser grid, and resize them back (bilinear).

    Args:
        image: see `pamr`.
        masks: see `pamr`.
        side: number of cells along the short side of the grid.
        iterations: see `pamr`.
        dilations: see `pamr`.
    """
    height, width = masks.shape[1:]
    scale = side / min(height, width)
    grid = (max(1, round(height * scale)), max(1, round(width * scale)))
    coarse = F.interpolate(masks[None].float(), grid, mode="bilinear", align_corners=False)[0]
    out = pamr(image, coarse, iterations=iterations, dilations=dilations)
    return F.interpolate(out[None], (height, width), mode="bilinear", align_corners=False)[0]


def multiply_sparse(
    out: Float32[Tensor, "class pixel"],
    weights: Float32[Tensor, "neighbour pixel"],
    index: Int64[Tensor, "neighbour pixel"],
    iterations: int,
) -> Float32[Tensor, "class pixel"]:
    """Multiply masks `iterations` times by the sparse matrix of weights at index, on the CPU."""
    count, pixels = weights.shape
    matrix = csr_array(
        (
            weights.T.flatten().numpy(),
            index.T.flatten().to(torch.int32).numpy(),
            np.arange(0, count * pixels + 1, count, dtype=np.int32),
        ),
        shape=(pixels, pixels),
    )
    columns = out.T.contiguous().numpy()
    for _ in range(iterations):
        columns = matrix @ columns
    return torch.from_numpy(columns).T


def gather_neighbours(
    out: Float32[Tensor, "class pixel"],
    weights: Float32[Tensor, "neighbour pixel"],
    index: Int64[Tensor, "neighbour pixel"],
    iterations: int,
) -> Float32[Tensor, "class pixel"]:
    """Compute the same as `multiply_sparse` on a GPU, neighbour by neighbour."""
    for _ in range(iterations):
        total = torch.zeros_like(out)
        for weight, column in zip(weights, index, strict=True):
            total.addcmul_(out[:, column], weight)
        out = total
    return out


def weigh_neighbours(
    image: Float[Tensor, "channel height width"], dilations: Sequence[int] = DILATIONS
) -> Float[Tensor, "neighbour height width"]:
    """Compute the weight of each neighbour, a softmax over all (8 per dilation) of -|x - x_n| /
    (1e-8 + .1 s).

    s is the unbiased deviation over all 3 x 3 neighbourhoods of a pixel, which include its own
    value once each; distances are means over the channels of the image.
    """
    # [K, 3, H, W]
    around = torch.stack([shift_pixels(image, dy, dx, d) for d, dy, dx in list_steps(dilations)])
    neighbourhood = torch.cat([around, image.expand(len(dilations), -1, -1, -1)])
    scale = 1e-8 + 0.1 * neighbourhood.std(0)
    return (-(around - image).abs() / scale).mean(1).softmax(0)


def list_steps(dilations: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Yield (dilation, dy, dx) of every neighbour."""
    return ((d, dy, dx) for d in dilations for dy, dx in STEPS)


def shift_pixels(
    image: Num[Tensor, "channel height width"], dy: int, dx: int, distance: int
) -> Num[Tensor, "channel height width"]:
    """Return each pixel's neighbour; beyond the border the nearest pixel inside."""
    height, width = image.shape[1:]
    rows = (torch.arange(height, device=image.device) + dy * distance).clamp(0, height - 1)
    columns = (torch.arange(width, device=image.device) + dx * distance).clamp(0, width - 1)
    return image[:, rows[:, None], columns]


def index_neighbours(
    size: tuple[int, int], dilations: Sequence[int], device: torch.device
) -> Int64[Tensor, "neighbour {size[0]*size[1]}"]:
    """Return the number of each pixel's neighbour, row by row."""
    numbers = torch.arange(size[0] * size[1], device=device).view(1, *size)
    return torch.stack(
        [shift_pixels(numbers, dy, dx, d).flatten() for d, dy, dx in list_steps(dilations)]
    )
