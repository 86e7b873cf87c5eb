"""Tiny random models of open_clip with towers of timm, one of each form that open_clip lists."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import open_clip
import timm
import torch
from timm.layers import LayerNorm
from timm.models.eva import _create_eva
from timm.models.vision_transformer import _create_vision_transformer
from timm.models.vision_transformer_hybrid import ConvStem, _create_vision_transformer_hybrid
from torch import nn

SIZE: dict[str, Any] = {"img_size": 32, "embed_dim": 32, "depth": 3, "num_heads": 2}
VIT: dict[str, Any] = SIZE | {"patch_size": 8}
NORM: dict[str, Any] = {"norm_layer": functools.partial(LayerNorm, eps=1e-5)}
ROPE: dict[str, Any] = {"use_rot_pos_emb": True, "ref_feat_shape": (4, 4)}
AVERAGE: dict[str, Any] = {"class_token": False, "global_pool": "avg"}
# as in timm's functions of these names
SIGLIP: dict[str, Any] = {"class_token": False, "global_pool": "map"}
PE: dict[str, Any] = {
    "global_pool": "map",
    "attn_type": "rope",
    "use_pre_transformer_norm": True,
    "rope_grid_offset": 1.0,
    "rope_grid_indexing": "xy",
    "attn_pool_num_heads": 4,
}
EVA02: dict[str, Any] = {
    "qkv_fused": False,
    "swiglu_mlp": True,
    "scale_mlp": True,
    "scale_attn_inner": True,
}


def make_hybrid(name: str, **kwargs):
    stem = ConvStem(
        channels=(8, 8, 32), stride=(2, 2, 2), kernel_size=(2, 2, 2), padding=0, act_layer=nn.GELU
    )
    settings = SIZE | {"no_embed_class": True} | kwargs
    return _create_vision_transformer_hybrid(
        name, backbone=stem, embed_args={"proj": False}, **settings
    )


# form: its network, how open_clip pools it and projects it
KINDS = {
    "sigmoid": (functools.partial(_create_vision_transformer, **VIT, **SIGLIP), "map", "none"),
    "pe": (functools.partial(_create_eva, **VIT, **PE, **ROPE, **NORM), "map", None),
    "pe_big": (
        functools.partial(_create_eva, **VIT, **PE, **ROPE, **NORM, class_token=False),
        "map",
        None,
    ),
    "eva01": (functools.partial(_create_eva, **VIT, init_values=0.5), "token", None),
    "eva02": (functools.partial(_create_eva, **VIT, **EVA02, **ROPE), "token", None),
    "eva02_e": (functools.partial(_create_eva, **VIT, use_post_norm=True), "token", None),
    "mobile": (make_hybrid, "token", None),
    "registers": (
        functools.partial(_create_vision_transformer, **VIT, reg_tokens=2, init_values=0.5),
        "token",
        None,
    ),
    "average": (
        functools.partial(_create_vision_transformer, **VIT, **AVERAGE, reg_tokens=1),
        "avg",
        "linear",
    ),
    "mlp": (
        functools.partial(_create_vision_transformer, **VIT, **AVERAGE, fc_norm=False),
        "avg",
        "mlp",
    ),
}
WIDTH = {"sigmoid": 32}
"""D where open_clip puts no projection behind the tower."""


def register(kind: str) -> None:
    """Have timm list the network of a form as tiny_FORM."""

    def make(pretrained: bool = False, **kwargs):
        kwargs.pop("pretrained_cfg", None)
        kwargs.pop("pretrained_cfg_overlay", None)
        return KINDS[kind][0]("test_vit", **{k: v for k, v in kwargs.items() if v is not None})

    make.__name__ = f"tiny_{kind}"
    if not timm.is_model(make.__name__):
        timm.models.register_model(make)


def describe(kind: str, text: dict | None = None) -> dict:
    """open_clip's config of a model with such a tower."""
    _, pool, proj = KINDS[kind]
    vision = {"timm_model_name": f"tiny_{kind}", "timm_pool": pool, "timm_proj": proj}
    small = {"context_length": 8, "vocab_size": 8, "width": 16, "heads": 2, "layers": 1}
    return {
        "embed_dim": WIDTH.get(kind, 24),
        "vision_cfg": vision | {"image_size": 32, "timm_model_pretrained": False},
        "text_cfg": text or small,
    }


def build_model(kind: str, **config) -> open_clip.CustomTextCLIP:
    """A model with such a tower and random weights; no bias is zero, no norm the identity."""
    register(kind)
    torch.manual_seed(0)
    model: Any = open_clip.CustomTextCLIP(**describe(kind), **config)
    model.visual.image_mean = model.visual.image_std = (0.5, 0.5, 0.5)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def write_checkpoint(kind: str, folder: Path) -> tuple[str, str]:
    """Have open_clip list tiny-FORM; its name, and the path of random weights."""
    config = describe(kind) | {"custom_text": True}
    (folder / f"tiny-{kind}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)
    torch.save(build_model(kind).state_dict(), folder / f"{kind}.pt")
    return f"tiny-{kind}", str(folder / f"{kind}.pt")
