"""Frozen modules as parts of a model: neither trained, nor saved, nor synchronised with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Generic, TypeVar

from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.modeling.layers.backbone import BackboneBlocks, BackboneFeatures, Network, probe
from captionseg.modeling.weights.pretrained import frozen_blocks

LONGEST = 2048
"""Pixels of a side, whatever the short side was to be."""

M = TypeVar("M", bound=nn.Module)


class FrozenModule(Generic[M]):
    """A frozen module that a model holds without owning it; no submodule, so that the model's
    state_dict and parameters are without it. It moves to the device of whatever it is used on.

    Args:
        module: frozen here.
    """

    def __init__(self, module: M) -> None:
        self.module: M = module.eval().requires_grad_(False)

    def on(self, tensor: Tensor) -> M:
        """The module on the device of a tensor."""
        return self.module.to(tensor.device)


class FrozenTowers:
    """A list of frozen networks. Their sizes are known at once; their weights are read when they
    are first needed.

    Args:
        networks: which, with the files of their weights.
        crop: side of training pictures in pixels.
        cell: side of the cells of the grid that their maps come to.

    Raises:
        ValueError: for a network that nobody has, or whose patches do not divide the crop.
    """

    def __init__(self, networks: Sequence[Network], *, crop: int, cell: int) -> None:
        self.networks = tuple(networks)
        self.widths, strides = zip(*(probe(network, crop) for network in networks), strict=True)
        self.multiple = math.lcm(cell, *strides)
        for network, stride in zip(networks, strides, strict=True):
            if crop % stride:
                raise ValueError(
                    f"use: crop {crop} is no multiple of {stride} pixels, a cell of {network.name}"
                )
        self.loaded: list[FrozenModule[BackboneBlocks]] = []

    def load(self) -> None:
        """Read the weights, unless they were.

        Raises:
            UserError: for weights that are missing or do not fit.
        """
        self.loaded = self.loaded or [
            FrozenModule(frozen_blocks(network)) for network in self.networks
        ]

    def __call__(self, image: Tensor) -> list[BackboneFeatures]:
        """What each sees of pictures [B, 3, H, W]; without gradient. Raises as `load`."""
        self.load()
        return [tower.on(image)(image) for tower in self.loaded]


def resize_and_pad(image: Tensor, side: int, multiple: int) -> tuple[Tensor, tuple[float, float]]:
    """Pictures as towers take them: ratio kept, padded right and below with the mean colour.

    Args:
        image: [B, 3, H, W], normalised.
        side: pixels that the short side gets, unless the long one had more than LONGEST then.
        multiple: of pixels, that both sides are padded to.

    Returns:
        [B, 3, h, w], and the shares of h and w that are picture.
    """
    height, width = image.shape[2:]
    scale = min(side / min(height, width), LONGEST / max(height, width))
    size = [max(1, round(n * scale)) for n in (height, width)]
    if size != [height, width]:
        image = F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)
    below, right = (-n % multiple for n in size)
    return F.pad(image, (0, right, 0, below)), (
        size[0] / (size[0] + below),
        size[1] / (size[1] + right),
    )
