"""What goes into the first stage: patches of pixels, or class-agnostic regions of frozen
features."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class PatchTokens(nn.Module):
    """Maps of a picture, a norm, a learnt position.

    Positions are resized to the picture's grid (bicubic), so that any size of at least a patch goes
    in.

    Args:
        projection: pictures -> maps [B, width, h, w]: a convolution over patches, or a whole
            network.
        width: of tokens.
        side: of the grid of a training picture.
        norm: GroupViT has it, DINO's ViT has not.
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
        """Tokens in row-major order, and the grid (rows, columns) that they stand for."""
        maps = self.projection(image)
        grid = (maps.shape[2], maps.shape[3])
        return self.norm(maps.flatten(2).transpose(1, 2)) + self.positions(grid), grid

    def positions(self, grid: tuple[int, int]) -> Float[Tensor, "1 {grid[0]*grid[1]} channel"]:
        """For a grid; the learnt ones where it is the one of training."""
        if grid == (self.side, self.side):
            return self.position
        square = self.position.unflatten(1, (self.side, self.side)).permute(0, 3, 1, 2)
        return (
            F.interpolate(square, grid, mode="bicubic", align_corners=False)
            .flatten(2)
            .transpose(1, 2)
        )


class RegionNorm(nn.Module):
    """Region features by the data's mean and deviation; while training an image loses some of them.

    All regions of an image lose the same: that costs less than a draw for each, and generalises
    better.
    """

    mean: Float[Tensor, " feature"]
    scale: Float[Tensor, " feature"]

    def __init__(self, features: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.dropout = nn.Dropout(dropout)

    def standardise(self, regions: Float[Tensor, "region feature"]) -> None:
        """Take mean and standard deviation of the features from a sample; kept with the weights."""
        self.mean.copy_(regions.mean(0))
        self.scale.copy_(regions.std(0, correction=0) + 1e-3)

    def forward(
        self, regions: Float[Tensor, "batch region feature"]
    ) -> Float[Tensor, "batch region feature"]:
        """See the class."""
        x = (regions - self.mean) / self.scale
        return x * self.dropout(torch.ones_like(x[:, :1])) if self.training else x


class RegionTokens(nn.Module):
    """Pooled region features, which hold their geometry, through a norm and an MLP."""

    def __init__(self, features: int, width: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = RegionNorm(features, dropout=dropout)
        self.mlp = nn.Sequential(nn.Linear(features, width), nn.GELU(), nn.Linear(width, width))

    def forward(
        self, regions: Float[Tensor, "batch region feature"]
    ) -> Float[Tensor, "batch region channel"]:
        """See the class."""
        return self.mlp(self.norm(regions))
