"""Converts the configs of GroupViT between transformers and captionseg.

Each field is converted, or refused. Fields that only training reads (dropout, initial values,
weights of losses) are ignored. In this module "theirs" is the config of transformers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from captionseg.modeling.groupvit import GroupViTConfig, groupvit_small
from captionseg.modeling.towers.dual_encoder import TowersConfig
from captionseg.modeling.towers.group_encoder import EncoderConfig
from captionseg.modeling.towers.texts import CLIP_VOCABULARY, TextConfig
from captionseg.records import UserError


def from_transformers_config(theirs: Mapping[str, Any]) -> GroupViTConfig:
    """Convert the config.json of transformers to our config; missing fields have the published
    values.

    Raises:
        UserError: for a value that our model does not support.
    """
    base = groupvit_small()
    vision, text = section(theirs, "vision_config"), section(theirs, "text_config")
    check_form(vision, text)
    words = TextConfig(
        "clip",
        width=text.get("hidden_size", 256),
        depth=text.get("num_hidden_layers", 12),
        heads=text.get("num_attention_heads", 4),
        vocabulary=CLIP_VOCABULARY,
        context=text.get("max_position_embeddings", 77),
    )
    towers = TowersConfig(
        encoder_config(vision, base.towers.encoder),
        words,
        hidden=theirs.get("projection_intermediate_dim", base.towers.hidden),
        embedding=theirs.get("projection_dim", base.towers.embedding),
        norm="batch",
    )
    return dataclasses.replace(base, towers=towers)


def encoder_config(vision: Mapping[str, Any], base: EncoderConfig) -> EncoderConfig:
    """Convert their vision_config; missing fields are those of `base`.

    Raises:
        UserError: if a stage without group tokens is followed by one with them, or pictures or
            patches are not square.
    """
    renames = {
        "width": "hidden_size",
        "heads": "num_attention_heads",
        "depths": "depths",
        "group_tokens": "num_group_tokens",
        "assign_eps": "assign_eps",
    }
    changes = {ours: vision[name] for ours, name in renames.items() if name in vision}
    changes |= {
        ours: read_side(vision, name)
        for ours, name in (("size", "image_size"), ("patch", "patch_size"))
        if name in vision
    }
    tokens = changes.get("group_tokens", base.group_tokens)
    grouping = sum(t > 0 for t in tokens)
    if any(t > 0 for t in tokens[grouping:]):
        raise UserError(
            f"vision_config.num_group_tokens: {list(tokens)}: only the last stages can be without "
            "any"
        )
    groups = list(vision.get("num_output_groups", [*base.groups, base.groups[-1]]))
    return dataclasses.replace(base, **changes, groups=groups[:grouping])


def section(theirs: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a section of their config; `NAME_dict` of old files replaces NAME, as in transformers.

    Raises:
        UserError: if it is no mapping.
    """
    fields = theirs.get(f"{name}_dict") or theirs.get(name) or {}
    if not isinstance(fields, Mapping):
        raise UserError(
            f"not a checkpoint of GroupViT: {name}: expected a mapping, found {fields!r}"
        )
    return fields


FORM = {
    "vision_config": {"hidden_act": "gelu", "layer_norm_eps": 1e-5, "num_channels": 3},
    "text_config": {
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
        "vocab_size": CLIP_VOCABULARY,
    },
}
"""Fields whose only supported value is also transformers' default."""


def check_form(vision: Mapping[str, Any], text: Mapping[str, Any]) -> None:
    """Refuse values that change the results of their model and that ours does not support.

    Raises:
        UserError: naming the field and the supported value.
    """
    parts = {"vision_config": vision, "text_config": text}
    for part, fields in FORM.items():
        for name, value in fields.items():
            if (stored := parts[part].get(name, value)) != value:
                raise UserError(f"{part}.{name}: {stored!r} cannot be expressed, only {value!r}")
    for part, width in (("vision_config", 384), ("text_config", 256)):
        width = parts[part].get("hidden_size", width)
        if (
            parts[part].get("intermediate_size", 1536 if part == "vision_config" else 1024)
            != 4 * width
        ):
            raise UserError(
                f"{part}.intermediate_size: only four times hidden_size, {4 * width}, can be "
                "expressed"
            )
    ratio = vision.get("assign_mlp_ratio", [0.5, 4])
    if list(ratio if isinstance(ratio, list | tuple) else [ratio, ratio]) != [0.5, 4]:
        raise UserError(
            f"vision_config.assign_mlp_ratio: {ratio!r} cannot be expressed, only [0.5, 4]"
        )
    # in old files, 2 means the token with the largest number
    if text.get("eos_token_id", CLIP_VOCABULARY - 1) not in (2, CLIP_VOCABULARY - 1):
        raise UserError(
            f"text_config.eos_token_id: {text['eos_token_id']!r} cannot be expressed, only "
            f"{CLIP_VOCABULARY - 1}, CLIP's"
        )


def read_side(vision: Mapping[str, Any], name: str) -> int:
    """Return the side of a square, which is a number or two equal ones, in pixels.

    Raises:
        UserError: if it is no square.
    """
    value = vision[name]
    if isinstance(value, list | tuple):
        if len(set(value)) != 1:
            raise UserError(f"vision_config.{name}: {value!r} cannot be expressed, only a square")
        return value[0]
    return value


def to_transformers_config(config: GroupViTConfig) -> dict[str, Any]:
    """Convert our config to the config.json of transformers."""
    encoder, words = config.towers.encoder, config.towers.text
    vision = {
        "hidden_size": encoder.width,
        "intermediate_size": 4 * encoder.width,
        "depths": encoder.depths,
        "num_hidden_layers": sum(encoder.depths),
        "num_group_tokens": encoder.group_tokens,
        "num_output_groups": [*encoder.groups, encoder.groups[-1]][: len(encoder.depths)],
        "num_attention_heads": encoder.heads,
        "image_size": encoder.size,
        "patch_size": encoder.patch,
        "assign_eps": encoder.assign_eps,
    }
    text = {
        "hidden_size": words.width,
        "intermediate_size": 4 * words.width,
        "num_hidden_layers": words.depth,
        "num_attention_heads": words.heads,
        "vocab_size": words.vocabulary or CLIP_VOCABULARY,
        "max_position_embeddings": words.context,
        "eos_token_id": CLIP_VOCABULARY - 1,
    }
    return {
        "model_type": "groupvit",
        "architectures": ["GroupViTModel"],
        "projection_dim": config.towers.embedding,
        "projection_intermediate_dim": config.towers.hidden,
        "vision_config": vision,
        "text_config": text,
    }


FIXED = {
    "towers.encoder.tokens": "pixels",
    "towers.encoder.backbone": "",
    "towers.encoder.patch_norm": True,
    "towers.encoder.binding": "groupvit",
    "towers.encoder.assign": "gumbel",
    "towers.encoder.eps": 1e-5,
    "towers.text.kind": "clip",
    "towers.norm": "batch",
    "pool": "mean",
}
"""Fields of our config of which transformers supports only this value."""


def check_expressible(config: Any) -> None:
    """Refuse a config of ours that transformers does not support.

    Raises:
        UserError: naming the field.
    """
    if not isinstance(config, GroupViTConfig):
        raise UserError(
            "only a groupvit on patches of pixels with a text encoder of its own has a "
            "counterpart in transformers"
        )
    for name, value in FIXED.items():
        actual: Any = config
        for part in name.split("."):
            actual = getattr(actual, part)
        if actual != value:
            raise UserError(
                f"only a groupvit on patches of pixels with {name}: {value} has a counterpart in "
                f"transformers, not {actual}"
            )
    encoder, words = config.towers.encoder, config.towers.text
    if (words.vocabulary or CLIP_VOCABULARY) != CLIP_VOCABULARY:
        raise UserError(
            f"towers.text.vocabulary: {words.vocabulary}: only CLIP's {CLIP_VOCABULARY} are known "
            "there"
        )
    stages = sum(t > 0 for t in encoder.group_tokens)
    if any(encoder.group_tokens[stages:]):
        raise UserError(
            "towers.encoder.group_tokens: there only the last stages can be without any"
        )
    if stages > 1 and encoder.group_tokens[: stages - 1] != encoder.groups[: stages - 1]:
        raise UserError(
            "towers.encoder.group_tokens: a stage before another that groups must have as many "
            "there as groups leave it"
        )
    if encoder.size % encoder.patch:
        raise UserError(
            f"towers.encoder.size: {encoder.size} is no multiple of the patch, {encoder.patch}"
        )
