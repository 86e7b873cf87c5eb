"""Small networks of timm of the forms of DINOv3 and SigLIP, by names of their own."""

from __future__ import annotations

from typing import Any

import timm
from timm.models import register_model

SMALL = {"embed_dim": 32, "depth": 3, "num_heads": 2}


@register_model
def tiny_dinov3(pretrained: bool = False, **changes: Any) -> Any:
    """Patches of 16 pixels, a class token and 4 registers, rotary positions."""
    return timm.create_model("vit_small_patch16_dinov3", pretrained=pretrained, **SMALL, **changes)


@register_model
def tiny_dinov3_qkvb(pretrained: bool = False, **changes: Any) -> Any:
    """As tiny_dinov3, with biases of queries and values."""
    return timm.create_model(
        "vit_small_patch16_dinov3_qkvb", pretrained=pretrained, **SMALL, **changes
    )


@register_model
def tiny_siglip(pretrained: bool = False, **changes: Any) -> Any:
    """Patches of 14 pixels, no class token, learnt positions for 28 pixels, attention pooling."""
    sizes = {"img_size": 28, "mlp_ratio": 2}
    return timm.create_model(
        "vit_so400m_patch14_siglip_378", pretrained=pretrained, **{**SMALL, **sizes, **changes}
    )
