"""Frozen modules in a model; they are not trained, saved or synchronised with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Generic, TypeVar

from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.modeling.layers.backbone import (
    BackboneBlocks,
    BackboneFeatures,
    Network,
    probe_network,
)
from captionseg.modeling.weights.pretrained import load_frozen_blocks

LONGEST = 2048
"""Maximum length of a side in pixels."""

M = TypeVar("M", bound=nn.Module)


class FrozenModule(Generic[M]):
    """Wraps a frozen module so that it is not among the parameters and the state_dict of a model.

    Args:
        module: the module, which is frozen and set to evaluation mode.
    """

    def __init__(self, module: M) -> None:
        self.module: M = module.eval().requires_grad_(False)

    def on(self, tensor: Tensor) -> M:
        """Return the module, moved to the device of a tensor of any shape."""
        return self.module.to(tensor.device)


def load_tower(network: Network) -> FrozenModule[BackboneBlocks]:
    """Load a frozen image tower without its head, from a file or by a tag of timm.

    Called with pictures [B, 3, H, W] of any size that is a multiple of a patch, normalised by
    ImageNet's mean and deviation, it returns BackboneFeatures: maps without class and register
    tokens, with positions for that size, and a vector of each picture.

    Raises:
        UserError: for weights that are missing or do not fit.
    """
    return FrozenModule(load_frozen_blocks(network))


class FrozenTowers:
    """A list of frozen networks; their weights are loaded on first use.

    Args:
        networks: the networks, with the files of their weights.
        crop: side of training pictures in pixels.
        cell: side in pixels of the cells of the grid that their maps are resized to.

    Raises:
        ValueError: for an unknown network, or one whose stride does not divide the crop.
    """

    def __init__(self, networks: Sequence[Network], *, crop: int, cell: int) -> None:
        self.networks = tuple(networks)
        self.widths, strides = zip(
            *(probe_network(network, crop) for network in networks), strict=True
        )
        self.multiple = math.lcm(cell, *strides)
        for network, stride in zip(networks, strides, strict=True):
            if crop % stride:
                raise ValueError(
                    f"use: crop {crop} is no multiple of {stride} pixels, a cell of {network.name}"
                )
        self.loaded: list[FrozenModule[BackboneBlocks]] = []

    def load(self) -> None:
        """Load the weights, unless they are loaded.

        Raises:
            UserError: for weights that are missing or do not fit.
        """
        self.loaded = self.loaded or [load_tower(network) for network in self.networks]

    def __call__(self, image: Tensor) -> list[BackboneFeatures]:
        """Return the features of pictures [B, 3, H, W] by each network, without gradients.

        Raises:
            UserError: see `load`.
        """
        self.load()
        return [tower.on(image)(image) for tower in self.loaded]


def resize_and_pad(image: Tensor, side: int, multiple: int) -> tuple[Tensor, tuple[float, float]]:
    """Resize pictures with the same aspect ratio, and pad them with the mean colour.

    Padding is on the right and at the bottom.

    Args:
        image: [B, 3, H, W], normalised.
        side: length of the short side in pixels; less if the long side would exceed LONGEST.
        multiple: both sides are padded to a multiple of it, in pixels.

    Returns:
        [B, 3, h, w], and the shares of h and w that the picture covers.
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
