"""Embeddings of parts of pictures: what a mask hides is filled with a learnt prompt (CoDe, Eq.
3.4), or left empty.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.encoders.text_space import PictureEncoder
from captionseg.runtime.device import full_precision


class Highlight(nn.Module):
    """Masked pictures through the frozen encoder, or masked sums of its cached features.

    Args:
        channels: 3 over pictures; over features those of the joint space.
        side: of the prompt, which is resized to what it fills.
        prompt: whether there is one; else what is hidden is zero: in pictures the mean colour.
    """

    def __init__(self, channels: int, side: int, *, prompt: bool) -> None:
        super().__init__()
        self.prompt = nn.Parameter(torch.zeros(channels, side, side)) if prompt else None

    def resize_prompt(
        self, size: tuple[int, int]
    ) -> Float[Tensor, "channel {size[0]} {size[1]}"] | None:
        """The prompt in some size; None where there is none."""
        if self.prompt is None:
            return None
        return F.interpolate(self.prompt[None], size, mode="bilinear", align_corners=False)[0]

    def cells(
        self,
        masks: Float[Tensor, "batch mask _rows _columns"],
        frozen: Float[Tensor, "batch rows columns embedding"],
    ) -> Float[Tensor, "batch mask embedding"]:
        """L2-normalised, of features of which masks show a part.

        The embedding of a picture is the sum of its cells, which is what their alignment was
        trained on.
        """
        grid = (frozen.shape[1], frozen.shape[2])
        with full_precision(masks):
            share = F.adaptive_avg_pool2d(masks.float(), grid).flatten(2)  # [B, L, n]
            sums = share @ frozen.flatten(1, 2)
            if (prompt := self.resize_prompt(grid)) is not None:
                sums = sums + (1.0 - share) @ prompt.flatten(1).T
        # a mask that shows nothing has no direction, nor a steep one
        return F.normalize(sums, dim=-1, eps=1e-2)

    def pixels(
        self,
        masks: Float[Tensor, "batch mask _rows _columns"],
        image: Float[Tensor, "batch 3 height width"],
        live: PictureEncoder,
    ) -> Float[Tensor, "batch mask embedding"]:
        """L2-normalised, of pictures of which masks show a part."""
        size = (image.shape[2], image.shape[3])
        visible = F.interpolate(masks, size, mode="nearest")[:, :, None]  # [B, L, 1, H, W]
        picture = image[:, None] * visible
        if (prompt := self.resize_prompt(size)) is not None:
            picture = picture + prompt * (1.0 - visible)
        return F.normalize(live.embed(picture.flatten(0, 1)).float(), dim=-1).unflatten(
            0, (-1, masks.shape[1])
        )
