"""Tokens of the first stage: patches of pixels, or class-agnostic regions of frozen features."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class PatchTokens(nn.Module):
    """Tokens of patches with learnt positions, which are resized (bicubic) for other grids.

    Args:
        projection: maps pictures to [B, width, h, w]: a convolution over patches, or a network.
        width: width of tokens.
        side: side of a training picture's grid, in tokens.
        norm: whether tokens are normalised, as in GroupViT and not in DINO's ViT.
    """

    def __init__(self, projection: nn.Module, width: int, side: int, *, norm: bool = True) -> None:
        super().__init__()
        self.projection, self.side = projection, side
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.position = nn.Parameter(torch.zeros(1, side**2, width))
        nn.init.trunc_normal_(self.position, std=0.02)

    def forward(
        self, image: Float[Tensor, "batch 3 height width"]
    ) -> tuple[Float[Tensor, "batch token channel"], tuple[int, int]]:
        """Return tokens in row-major order, and their grid (rows, columns)."""
        maps = self.projection(image)
        grid = (maps.shape[2], maps.shape[3])
        return self.norm(maps.flatten(2).transpose(1, 2)) + self.positions(grid), grid

    def positions(self, grid: tuple[int, int]) -> Float[Tensor, "1 {grid[0]*grid[1]} channel"]:
        """Return the positions for a grid (rows, columns)."""
        if grid == (self.side, self.side):
            return self.position
        square = self.position.unflatten(1, (self.side, self.side)).permute(0, 3, 1, 2)
        return (
            F.interpolate(square, grid, mode="bicubic", align_corners=False)
            .flatten(2)
            .transpose(1, 2)
        )


class RegionNorm(nn.Module):
    """Standardises region features, with dropout in training.

    Dropout is the same for all regions of an image: this is faster and generalises better.

    Args:
        features: F, number of features of a region.
        dropout: probability of dropout.
    """

    mean: Float[Tensor, " feature"]
    scale: Float[Tensor, " feature"]

    def __init__(self, features: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.dropout = nn.Dropout(dropout)

    def standardise(self, regions: Float[Tensor, "region feature"]) -> None:
        """Set mean and deviation to those of a sample; they are saved with the weights."""
        self.mean.copy_(regions.mean(0))
        self.scale.copy_(regions.std(0, correction=0) + 1e-3)

    def forward(
        self, regions: Float[Tensor, "batch region feature"]
    ) -> Float[Tensor, "batch region feature"]:
        """Standardise region features."""
        if not self.training:
            return (regions - self.mean) / self.scale
        # in one pass: there are far more features than weights
        factor = self.dropout(torch.ones_like(regions[:, :1])) / self.scale
        return torch.addcmul(-self.mean * factor, regions, factor)

    def undo(
        self, x: Float[Tensor, "batch region feature"]
    ) -> Float[Tensor, "batch region feature"]:
        """Return features as they were before `forward`; those that were dropped are the mean."""
        return x * self.scale + self.mean


class RegionTokens(nn.Module):
    """Tokens of regions: pooled features with geometry, standardised, through an MLP.

    Args:
        features: F, number of features of a region.
        width: width of tokens.
        dropout: dropout of features in training.
    """

    def __init__(self, features: int, width: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = RegionNorm(features, dropout=dropout)
        self.mlp = nn.Sequential(nn.Linear(features, width), nn.GELU(), nn.Linear(width, width))

    def forward(
        self, regions: Float[Tensor, "batch region feature"]
    ) -> Float[Tensor, "batch region channel"]:
        """Return one token per region."""
        return self.mlp(self.norm(regions))
