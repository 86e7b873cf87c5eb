"""Embeds parts of pictures; hidden parts are zero, or a learnt prompt (CoDe, Eq. 3.4)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.encoders.text_space import PictureEncoder
from captionseg.runtime.device import full_precision


class Highlight(nn.Module):
    """Embeds masked pictures with the frozen encoder, or sums its cached features under masks.

    Args:
        channels: channels of the prompt: 3 for pictures, or the width of the joint space.
        side: side of the prompt in pixels or cells; it is resized as needed.
        prompt: whether hidden parts are filled with a learnt prompt; otherwise they are zero, the
            mean colour of pictures.
    """

    def __init__(self, channels: int, side: int, *, prompt: bool) -> None:
        super().__init__()
        self.prompt = nn.Parameter(torch.zeros(channels, side, side)) if prompt else None

    def resize_prompt(
        self, size: tuple[int, int]
    ) -> Float[Tensor, "channel {size[0]} {size[1]}"] | None:
        """Return the prompt in a size (height, width); None without a prompt."""
        if self.prompt is None:
            return None
        return F.interpolate(self.prompt[None], size, mode="bilinear", align_corners=False)[0]

    def cells(
        self,
        masks: Float[Tensor, "batch mask _rows _columns"],
        frozen: Float[Tensor, "batch rows columns embedding"],
    ) -> Float[Tensor, "batch mask embedding"]:
        """Embed the cells under masks, L2-normalised.

        The embedding of a picture is the sum of its cells, as in the training of their alignment.

        Args:
            masks: 1 for visible parts.
            frozen: frozen features in the joint space.
        """
        grid = (frozen.shape[1], frozen.shape[2])
        with full_precision(masks):
            share = F.adaptive_avg_pool2d(masks.float(), grid).flatten(2)  # [B, L, n]
            sums = share @ frozen.flatten(1, 2)
            if (prompt := self.resize_prompt(grid)) is not None:
                sums = sums + (1.0 - share) @ prompt.flatten(1).T
        # a large eps keeps the gradient of almost empty masks small
        return F.normalize(sums, dim=-1, eps=1e-2)

    def pixels(
        self,
        masks: Float[Tensor, "batch mask _rows _columns"],
        image: Float[Tensor, "batch 3 height width"],
        live: PictureEncoder,
    ) -> Float[Tensor, "batch mask embedding"]:
        """Embed the pixels under masks, L2-normalised.

        Args:
            masks: 1 for visible parts.
            image: normalised pictures.
            live: the frozen image encoder.
        """
        size = (image.shape[2], image.shape[3])
        visible = F.interpolate(masks, size, mode="nearest")[:, :, None]  # [B, L, 1, H, W]
        picture = image[:, None] * visible
        if (prompt := self.resize_prompt(size)) is not None:
            picture = picture + prompt * (1.0 - visible)
        return F.normalize(live.embed(picture.flatten(0, 1)).float(), dim=-1).unflatten(
            0, (-1, masks.shape[1])
        )
