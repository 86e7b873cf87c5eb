"""Merges feature maps of several blocks and towers, pooled over segments (USE, COMM's LLN)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.runtime.device import full_precision


class Lln(nn.Module):
    """Merges the blocks of a tower: sum_i alpha_i LLN_i(c_i); an LLN is a layer norm and a linear
    map.

    Maps are pooled between norm and linear map. The result is that of pooling the merged map,
    because everything after the norm is linear and pooling weights sum to 1.

    Args:
        widths: widths of the blocks.
        out: width of the sum.
    """

    def __init__(self, widths: Sequence[int], out: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths)
        self.linears = nn.ModuleList(nn.Linear(width, out) for width in widths)
        self.scale = nn.Parameter(torch.full((len(widths),), 1.0 / len(widths)))

    def forward(
        self,
        maps: Sequence[Float[Tensor, "batch _rows _columns _channel"]],
        weights: Float[Tensor, "batch segment rows columns"],
    ) -> Float[Tensor, "batch segment channel"]:
        """Return the merged vector of each segment.

        Args:
            maps: maps of the blocks; resized to the grid of the weights.
            weights: pooling weights, with sum 1 for each segment.
        """
        grid = (weights.shape[2], weights.shape[3])
        normed = (
            norm(resize_map(x, grid)).flatten(1, 2)
            for norm, x in zip(self.norms, maps, strict=True)
        )
        return self.merge([weights.flatten(2) @ x for x in normed])

    def merge(
        self, normed: Sequence[Float[Tensor, "*batch _channel"]]
    ) -> Float[Tensor, "*batch channel"]:
        """Merge vectors of the blocks, after their norms."""
        parts = [linear(x) for linear, x in zip(self.linears, normed, strict=True)]
        return torch.einsum("i...,i->...", torch.stack(parts), self.scale)


class SegmentEncoder(nn.Module):
    """Embeds segments, from the maps of one or more towers and their vectors of the picture.

    The input of the linear head is z = [c_bar, c_hat, d_bar, d_hat, ..] of USE: for each tower the
    pooled merged map of the segment, and the [CLS] of the picture.

    Args:
        towers: widths of the blocks of each tower.
        out: width of the joint space.
        width: width of each tower's merged map; 0 takes that of its widest block.
        cls: widths of the towers' vectors of the picture; empty for none.
        dropout: dropout of z in training, the same for all segments of a picture.
    """

    def __init__(
        self,
        towers: Sequence[Sequence[int]],
        out: int,
        *,
        width: int = 0,
        cls: Sequence[int] = (),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        widths = [width or max(blocks) for blocks in towers]
        self.towers = nn.ModuleList(
            Lln(blocks, w) for blocks, w in zip(towers, widths, strict=True)
        )
        self.head, self.dropout = nn.Linear(sum(widths) + sum(cls), out), nn.Dropout(dropout)

    def forward(
        self,
        towers: Sequence[Sequence[Float[Tensor, "batch _rows _columns _channel"]]],
        masks: Shaped[Tensor, "batch segment rows columns"],
        cls: Sequence[Float[Tensor, "batch _channel"]] = (),
    ) -> Float[Tensor, "batch segment embedding"]:
        """Return the embeddings of segments, not normalised.

        Args:
            towers: maps of each tower's blocks, see Lln.
            masks: share of each cell that lies in a segment; the vector of an empty one is
                meaningless.
            cls: vector of the picture of each tower.
        """
        with full_precision(masks):
            weights = pool_weights(masks.float())
            parts = []
            for number, (lln, maps) in enumerate(zip(self.towers, towers, strict=True)):
                parts.append(lln([x.float() for x in maps], weights))
                parts += [
                    c.float()[:, None].expand(-1, masks.shape[1], -1)
                    for c in cls[number : number + 1]
                ]
            z = torch.cat(parts, 2)
            if self.training:
                z = z * self.dropout(torch.ones_like(z[:, :1]))
            return self.head(z)


def pool_weights(
    masks: Float[Tensor, "batch segment rows columns"],
) -> Float[Tensor, "batch segment rows columns"]:
    """Normalise masks to sum 1 for each segment; an empty mask stays 0."""
    return masks / masks.sum((2, 3), keepdim=True).clamp(min=1e-6)


def resize_map(
    x: Float[Tensor, "batch _rows _columns channel"], grid: tuple[int, int]
) -> Float[Tensor, "batch {grid[0]} {grid[1]} channel"]:
    """Resize a map bilinearly to a grid, with antialiasing if the map is finer."""
    if x.shape[1:3] == grid:
        return x
    finer = x.shape[1] > grid[0] or x.shape[2] > grid[1]
    return F.interpolate(
        x.movedim(-1, 1), grid, mode="bilinear", align_corners=False, antialias=finer
    ).movedim(1, -1)
