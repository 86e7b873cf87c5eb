"""A CLIP's visual tower as open_clip has it, with timm's interface of intermediate maps."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from captionseg.encoders.open_clip import dense_form, resize_tower

PREFIX = "open_clip:"
"""Prefix of the names of open_clip's models; other names are timm's."""
# open_clip builds no model without a text tower; this one is discarded
_NO_TEXT: Any = {"layers": 1, "width": 64, "heads": 1, "vocab_size": 8, "context_length": 8}


class ClipTower(nn.Module):
    """A ViT of open_clip, for pictures of any size that is a multiple of a patch.

    Args:
        name: name in open_clip, such as ViT-L-14-336-quickgelu.

    Raises:
        ValueError: for a name that open_clip does not know, or another kind of tower.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        import open_clip

        config: Any = open_clip.get_model_config(name) if name in open_clip.list_models() else None
        if config is None:
            raise ValueError(
                f"networks: open_clip has no {name!r}; `open_clip.list_models()` lists what it has"
            )
        quick = config.get("quick_gelu", False)
        self.visual: Any = open_clip.CLIP(
            config["embed_dim"], config["vision_cfg"], _NO_TEXT, quick_gelu=quick
        ).visual
        if dense_form(self.visual) != "vit":
            raise ValueError(
                f"networks: the tower of open_clip's {name} is no ViT of CLIP's form; name timm's "
                "network"
            )
        pixels = config.get("preprocess_cfg", {})
        self.pretrained_cfg = {
            "mean": pixels.get("mean", open_clip.OPENAI_DATASET_MEAN),
            "std": pixels.get("std", open_clip.OPENAI_DATASET_STD),
        }
        self.feature_info = [{"reduction": max(self.visual.patch_size)}]

    @property
    def cls_token(self) -> Float[Tensor, " channel"]:
        """The learnt [CLS] token, by the name of timm's networks."""
        return self.visual.class_embedding

    def forward_intermediates(
        self,
        image: Float[Tensor, "batch 3 height width"],
        *,
        indices: int | None = None,
        output_fmt: str = "NCHW",
    ) -> tuple[
        Float[Tensor, "batch token channel"], list[Float[Tensor, "batch channel rows columns"]]
    ]:
        """Return the tokens ([CLS] first) after the final norm, and the maps of the last `indices`
        blocks.
        """
        visual = resize_tower(self.visual, image.shape[2:])
        outputs = visual.forward_intermediates(
            image, indices=indices, output_fmt=output_fmt, output_extra_tokens=True
        )
        maps = outputs["image_intermediates"]
        tokens = [outputs["image_intermediates_prefix"][-1], maps[-1].flatten(2).mT]
        return visual.ln_post(torch.cat(tokens, 1)), maps
