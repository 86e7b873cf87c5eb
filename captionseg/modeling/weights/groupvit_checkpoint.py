"""Converts GroupViT checkpoints between transformers (such as nvidia/groupvit-gcc-yfcc) and
captionseg.

A folder of transformers has config.json and model.safetensors or pytorch_model.bin; one of
captionseg is written by `saved`. All tensors have a counterpart, except the temperature of the
concept loss. Fields of the configs are converted or refused; those that only training reads
(dropout, initial values, weights of losses) are ignored.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captionseg.encoders.clip_file import read_config as read_json
from captionseg.encoders.clip_file import read_pixels
from captionseg.grids import MEAN, STD
from captionseg.modeling.groupvit import GroupViT, groupvit_small
from captionseg.modeling.weights import saved
from captionseg.modeling.weights.groupvit_fields import (
    check_expressible,
    from_transformers_config,
    to_transformers_config,
)
from captionseg.records import UserError, one_line
from captionseg.runtime.weights import read_weights
from captionseg.storage.writing import write_json, write_tensors

LARGEST_SCALE = math.log(100.0)
STAGE = "vision_model.encoder.stages"
OURS = r"^vision\.stages\.(\d+)\."
RENAMES = (
    (r"^vision\.tokens\.projection\.", "vision_model.embeddings.patch_embeddings.projection."),
    (r"^vision\.tokens\.norm\.", "vision_model.embeddings.layernorm."),
    (r"^vision\.tokens\.position$", "vision_model.embeddings.position_embeddings"),
    (r"^vision\.norm\.", "vision_model.layernorm."),
    (rf"{OURS}project\.0\.", rf"{STAGE}.\1.group_projector.0."),
    (rf"{OURS}project\.1\.mlp\.", rf"{STAGE}.\1.group_projector.1."),
    (rf"{OURS}grouping\.mixer\.mlp\.", rf"{STAGE}.\1.downsample.mlp_inter."),
    (rf"{OURS}grouping\.norm_mixed\.", rf"{STAGE}.\1.downsample.norm_post_tokens."),
    (rf"{OURS}grouping\.norm_new\.", rf"{STAGE}.\1.downsample.norm_new_x."),
    (rf"{OURS}grouping\.mlp\.", rf"{STAGE}.\1.downsample.mlp_channels."),
    (
        rf"{OURS}grouping\.pre_assign\.attn\.([qkv])\.",
        rf"{STAGE}.\1.downsample.pre_assign_attn.attn.\2_proj.",
    ),
    (
        rf"{OURS}grouping\.pre_assign\.attn\.proj\.",
        rf"{STAGE}.\1.downsample.pre_assign_attn.attn.out_proj.",
    ),
    (rf"{OURS}grouping\.pre_assign\.", rf"{STAGE}.\1.downsample.pre_assign_attn."),
    (rf"{OURS}grouping\.", rf"{STAGE}.\1.downsample."),
    (rf"{OURS}blocks\.(\d+)\.", rf"{STAGE}.\1.layers.\2."),
    (rf"{OURS}", rf"{STAGE}.\1."),
    (r"^text\.token\.", "text_model.embeddings.token_embedding."),
    (r"^text\.position$", "text_model.embeddings.position_embedding.weight"),
    (r"^text\.blocks\.(\d+)\.", r"text_model.encoder.layers.\1."),
    (r"^text\.norm\.", "text_model.final_layer_norm."),
    (r"^image_projector\.", "visual_projection."),
    (r"^text_projector\.", "text_projection."),
    (r"^caption_scale$", "logit_scale"),
)
INSIDE_BLOCKS = (
    (".attn.qkv.", ".self_attn.qkv."),
    (".attn.proj.", ".self_attn.out_proj."),
    (".norm1.", ".layer_norm1."),
    (".norm2.", ".layer_norm2."),
)
INSIDE_PROJECTORS = {"fc1": "0", "norm": "1", "fc2": "3"}


def transformers_name(name: str) -> str:
    """Return the name of one of our tensors in transformers; q, k and v stay
    together as `.qkv.`.
    """
    name = name.removeprefix("towers.")
    new = next(new for new in (re.sub(a, b, name) for a, b in RENAMES if re.match(a, name)))
    if re.search(r"\.layers\.\d+\.", new):
        for mine, theirs in INSIDE_BLOCKS:
            new = new.replace(mine, theirs)
    if new.startswith(("visual_projection.", "text_projection.")):
        head, inside, tail = new.split(".")
        new = f"{head}.{INSIDE_PROJECTORS[inside]}.{tail}"
    return new


def to_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert our state dict to that of transformers."""
    out = {}
    for name, tensor in state.items():
        if name == "concept_scale":
            continue
        new = transformers_name(name)
        if ".qkv." in new:
            for part, chunk in zip("qkv", tensor.chunk(3), strict=True):
                out[new.replace(".qkv.", f".{part}_proj.")] = chunk.contiguous()
        else:
            out[new] = tensor
    return out


def from_transformers(state: Mapping[str, Tensor], model: GroupViT) -> dict[str, Tensor]:
    """Convert a state dict of transformers to that of our model.

    Raises:
        UserError: naming a tensor that is missing, has another shape, or is left over.
    """
    left, out = dict(state), {}
    for name, own in model.state_dict().items():
        if name == "concept_scale":
            out[name] = own
            continue
        new = transformers_name(name)
        names = [new.replace(".qkv.", f".{p}_proj.") for p in "qkv"] if ".qkv." in new else [new]
        if missing := [n for n in names if n not in left]:
            raise UserError(f"not a GroupViT of this shape: no tensor {missing[0]}")
        tensor = torch.cat([left.pop(n) for n in names]) if len(names) > 1 else left.pop(new)
        if tensor.shape != own.shape:
            raise UserError(
                f"not a GroupViT of this shape: {new} is {list(tensor.shape)}, expected "
                f"{list(own.shape)}"
            )
        out[name] = tensor
    if rest := [
        n for n in left if not n.endswith("position_ids") and n != "multi_label_logit_scale"
    ]:
        raise UserError(
            f"not a GroupViT of this shape: nothing takes {rest[0]} ({len(rest)} tensors are left "
            "over)"
        )
    return out


def load_transformers(folder: Path) -> GroupViT:
    """Load a GroupViT from a folder of transformers, in evaluation mode.

    Raises:
        UserError: for a folder without a GroupViT, or one that our model does not support.
    """
    config = read_config(folder)
    if config.get("model_type") != "groupvit":
        raise UserError(f"{folder}: a checkpoint of {config.get('model_type')!r}, not of groupvit")
    tensors, binary = folder / "model.safetensors", folder / "pytorch_model.bin"
    if not tensors.exists() and not binary.exists():
        raise UserError(f"{tensors}: no such file; give the folder of a GroupViT of transformers")
    try:
        model = GroupViT(from_transformers_config(config))
        state = read_weights(tensors if tensors.exists() else binary)
        model.load_state_dict(from_transformers(state, model))
        check_pixels(folder)
    except UserError as error:
        raise UserError(
            f"{folder}: {str(error).removeprefix(f'{folder}: ').removeprefix(f'{folder}/')}"
        ) from None
    except Exception as error:  # an invalid config can raise anything
        raise UserError(f"{folder}: not a checkpoint of GroupViT: {one_line(error)}") from None
    if float(model.caption_scale.detach()) > LARGEST_SCALE + 1e-3:
        raise UserError(
            f"{folder}: logit_scale is {float(model.caption_scale.detach()):.4g}, above ln 100, at "
            "which ours ends"
        )
    return model.eval()


def check_pixels(folder: Path) -> None:
    """Check that a folder's pictures are normalised by ImageNet's mean and deviation, as ours are.

    Raises:
        UserError: if they are not.
    """
    path = folder / "preprocessor_config.json"
    statistics = read_pixels(path, read_json(path), "image_mean", "image_std")
    if statistics is not None and not np.allclose(statistics, (MEAN, STD), atol=1e-3):
        raise UserError(f"{path}: image_mean and image_std cannot be expressed, only ImageNet's")


def read_config(folder: Path) -> dict[str, Any]:
    """Read the config.json of a model of either library.

    Raises:
        UserError: if it is missing or invalid.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = one_line(error) if folder.is_dir() else "there is no such folder"
        raise UserError(f"{path}: cannot be read ({reason})") from None
    if not isinstance(config, dict):
        raise UserError(
            f"{path}: cannot be read (it holds a {type(config).__name__}, not the config of a "
            "model)"
        )
    return config


def convert(source: Path, target: Path) -> str:
    """Convert a folder of either library to the other.

    Args:
        source: folder of the model.
        target: folder to write, which must be empty or missing.

    Returns:
        a line for people: what was written, and which fields have no counterpart.

    Raises:
        UserError: for a source of neither library, a GroupViT that the other does not support, or
            a target that is not empty.
    """
    config = read_config(source)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(
            f"{target}: is there already and not an empty folder; name another one to write"
        )
    if "model" not in config:
        model = load_transformers(source)
        saved.save(target, "groupvit", model, {"prompts": "simple", "origin": source.name})
        return f"{target}: a groupvit of captionseg"
    stored = saved.load(source)
    config = stored.model.config
    try:
        check_expressible(config)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    state = to_transformers({k: v.contiguous() for k, v in stored.model.state_dict().items()})
    # our model clamps it in use
    state["logit_scale"] = state["logit_scale"].clamp(max=LARGEST_SCALE)
    write_tensors(state, target / "model.safetensors", {"format": "pt"})
    write_json(to_transformers_config(config), target / "config.json")
    left = [] if config.zero_shot == groupvit_small().zero_shot else ["zero_shot"]
    left += [name for name in ("refine", "masks") if stored.context.get(name)]
    behind = (
        f"; {', '.join(left)} of ours has no counterpart there and stays behind" if left else ""
    )
    return f"{target}: a GroupViTModel of transformers{behind}"
