"""Whether the config beside a file of weights describes the chosen model of open_clip.

The shapes of tensors do not show everything that decides a model's results, such as the number of
attention heads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from captionseg.encoders.clip_file import ATTENTION_HEADS, ClipFile
from captionseg.records import UserError

FREE = (
    "patch_dropout",
    "image_size",
    "timm_model_pretrained",
    "hf_model_pretrained",
    "timm_drop",
    "timm_drop_path",
    "output_tokens",
    "hf_tokenizer_name",
    "tokenizer_kwargs",
)
"""Fields of open_clip's configs that do not change a model in use, or are checked elsewhere."""


def check_config(file: ClipFile, own: Mapping[str, Any], model: Any) -> None:
    """Refuse a file whose config describes another model.

    Args:
        file: the weights, and the config beside them.
        own: open_clip's config of the chosen model.
        model: the chosen model.

    Raises:
        UserError: naming the first field that differs.
    """
    fields = (
        compare_heads(file, model)
        if "model_cfg" not in file.config
        else compare_configs(file.config["model_cfg"], own)
    )
    if wrong := next(((name, a, b) for name, a, b in fields if a != b), None):
        raise UserError(
            f"{file.path}: its config has {wrong[0]}: {wrong[1]}, but the chosen model has "
            f"{wrong[2]}; choose the model that matches the file"
        )


def compare_configs(
    theirs: Mapping[str, Any], own: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    """Yield (field, their value, our value) of two configs of open_clip; missing fields
    have open_clip's defaults.
    """
    from open_clip.model import CLIPTextCfg, CLIPVisionCfg

    for part, fields in (("vision_cfg", CLIPVisionCfg), ("text_cfg", CLIPTextCfg)):
        defaults = {f.name: f.default for f in dataclasses.fields(fields)}
        filled = [
            defaults | {k: v for k, v in config.get(part, {}).items() if k not in FREE}
            for config in (theirs, own)
        ]
        for name in sorted(set(filled[0]) | set(filled[1])):
            yield f"{part}.{name}", filled[0].get(name), filled[1].get(name)


def compare_heads(file: ClipFile, model: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield (field, value in a config of transformers, value in a model of open_clip)."""
    text = getattr(model, "text", model)
    towers = {
        "vision_config": getattr(model.visual, "transformer", None),
        "text_config": text.transformer,
    }
    for part, heads in ATTENTION_HEADS.items():
        blocks = getattr(towers[part], "resblocks", None)
        if part not in file.config or not blocks:
            continue
        tower = file.config[part]
        yield (
            f"{part}.num_attention_heads",
            tower.get("num_attention_heads", heads),
            blocks[0].attn.num_heads,
        )
        yield f"{part}.layer_norm_eps", tower.get("layer_norm_eps", 1e-5), blocks[0].ln_1.eps
