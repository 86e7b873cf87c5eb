"""ProxyCLIP (Lan et al. 2024): patches attend to what a vision foundation model finds alike.

In the last block (arXiv 2408.04883) attention is replaced by the similarities S of the foundation
model's patch features, which are shifted, scaled, masked and normalised:

    A = gamma (S - beta mean(S)),  weights = softmax(A where A >= 0, else -inf)

They weigh v, which is resampled to the foundation model's patches. There is neither residual nor
MLP. Nothing is trained.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from captionseg.encoders.last_block import Attended, Mixed
from captionseg.modeling.layers.backbone import Network
from captionseg.modeling.segmenter import InputSpec, Sizes, Start
from captionseg.modeling.towers.foundation import FoundationTower
from captionseg.modeling.training_free import TrainingFree, read_pictures
from captionseg.records import UserError
from captionseg.runtime.device import full_precision
from captionseg.typed import AboveZero, Count, Finite


@dataclass(frozen=True)
class ProxyClipConfig:
    """Configuration of ProxyCLIP.

    Attributes:
        picture: half the side of windows in pixels, where these are not chosen, see WindowParams.
        foundation: the foundation model, a network of timm with the file or the tag of its weights,
            such as vit_base_patch8_224 (dino), vit_base_patch14_reg4_dinov2 (lvd142m) or
            vit_base_patch16_dinov3 (lvd1689m).
        beta: shift of similarities, in multiples of their mean over a picture.
        gamma: scale of similarities.
        resample: what is resampled where the grids of patches differ: values, to the foundation
            model's grid, as in the paper; or its features, to the encoder's grid, which takes less
            memory where its patches are small.
    """

    picture: Count = 224
    foundation: Network = field(default_factory=lambda: Network("vit_base_patch8_224.dino"))
    beta: Finite = 1.2
    gamma: AboveZero = 3.0
    resample: Literal["values", "features"] = "values"

    @property
    def reads(self) -> InputSpec:
        """See Segmenter."""
        return read_pictures(self.picture)

    def with_sizes(self, sizes: Sizes) -> ProxyClipConfig:
        """Return the config, which has no widths."""
        return self


class ProxyClip(TrainingFree):
    """The ProxyCLIP model; see the module's docstring."""

    name = "proxyclip"

    def __init__(self, config: ProxyClipConfig) -> None:
        super().__init__(config)
        self.foundation = FoundationTower(config.foundation)

    def start(self, data: Start) -> None:
        """Attach the frozen encoder, and load the foundation model.

        Raises:
            UserError: for an encoder whose last attention cannot be replaced, and for weights that
                are missing or do not fit.
        """
        super().start(data)
        if not self.config.foundation.weights:
            raise UserError(
                f"proxyclip.foundation.weights: empty; name a file with the weights of "
                f"{self.config.foundation.name}, or a tag of timm"
            )
        self.foundation.load()

    def mix(self, attended: Attended, image: Tensor) -> Mixed:
        """See TrainingFree."""
        features, value = self.foundation(image).float(), attended.value
        rows, columns = attended.grid
        value = value[:, :, value.shape[2] - rows * columns :]  # of the patches
        if self.config.resample == "features":
            features = resample(features, attended.grid)
        grid = (features.shape[2], features.shape[3])
        weights = attend_by_proxy(features, beta=self.config.beta, gamma=self.config.gamma)
        if grid != attended.grid:
            maps = value.transpose(2, 3).flatten(1, 2).unflatten(2, attended.grid)
            resampled = resample(maps, grid).flatten(2).unflatten(1, (value.shape[1], -1))
            value = resampled.transpose(2, 3)
        return Mixed(weights[:, None].to(value.dtype) @ value, grid)


def resample(
    maps: Float[Tensor, "batch channel _rows _columns"], grid: tuple[int, int]
) -> Float[Tensor, "batch channel {grid[0]} {grid[1]}"]:
    """Resample maps to another grid over the same picture (bilinear)."""
    return F.interpolate(maps, grid, mode="bilinear", align_corners=False)


def attend_by_proxy(
    features: Float[Tensor, "batch channel rows columns"], *, beta: float, gamma: float
) -> Float[Tensor, "batch cell cell"]:
    """Return the weights of proxy attention, whose rows sum to 1.

    Where all similarities of a cell are masked, itself included, none is: in a picture whose cells
    are nearly all alike, the shifted mean is above 1. The paper leaves this open.

    Args:
        features: of the foundation model.
        beta: see ProxyClipConfig.
        gamma: see ProxyClipConfig.
    """
    with full_precision(features):
        unit = F.normalize(features.float().flatten(2), dim=1)
        similarity = unit.transpose(1, 2) @ unit
        shifted = gamma * (similarity - beta * similarity.mean((1, 2), keepdim=True))
        negative = shifted < 0.0
        masked = negative & ~negative.all(2, keepdim=True)
        return torch.where(masked, -math.inf, shifted).softmax(2)
