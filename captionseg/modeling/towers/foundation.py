"""The patch features of a vision foundation model, such as DINO, that is not aligned with texts."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from captionseg.modeling.layers.backbone import BackboneBlocks, Network
from captionseg.modeling.layers.clip_tower import PREFIX
from captionseg.modeling.towers.frozen_towers import FrozenModule, load_tower


class FoundationTower:
    """The last map of a frozen network of timm, after its final norm; its weights are loaded on
    first use.

    Args:
        network: the network, with the file or the tag of its weights.

    Raises:
        ValueError: for a network of open_clip, or a choice of blocks.
    """

    def __init__(self, network: Network) -> None:
        if network.name.startswith(PREFIX) or network.blocks:
            raise ValueError(
                f"foundation: {network.name}: name a network of timm, such as "
                "vit_base_patch14_dinov2, without blocks: its last map is used"
            )
        self.network = replace(network, blocks=1)
        self.loaded: FrozenModule[BackboneBlocks] | None = None

    def load(self) -> FrozenModule[BackboneBlocks]:
        """Load the weights, unless they are loaded.

        Raises:
            UserError: for weights that are missing or do not fit.
        """
        self.loaded = self.loaded or load_tower(self.network)
        return self.loaded

    @torch.no_grad()
    def __call__(
        self, image: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch channel rows columns"]:
        """Return the features of patches, without class tokens and registers.

        Pictures are resized so that their sides are the nearest multiples of a patch.

        Args:
            image: pictures, normalised by ImageNet's mean and deviation.
        """
        blocks = self.load().on(image)
        patch = blocks.net.feature_info[-1]["reduction"]
        size = [max(1, round(side / patch)) * patch for side in image.shape[2:]]
        if size != list(image.shape[2:]):
            image = F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)
        return blocks(image).final.movedim(3, 1)
