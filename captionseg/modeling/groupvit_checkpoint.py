"""GroupViT checkpoints of transformers (nvidia/groupvit-gcc-yfcc and its like) into ours, and ours into theirs.

A folder of theirs is config.json with model.safetensors or pytorch_model.bin; one of ours is what `saved` writes. All
tensors have their counterpart but the temperature of the concept loss, which theirs has not.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from captionseg.modeling import saved
from captionseg.modeling.groupvit import GroupViT, GroupViTConfig, groupvit_small
from captionseg.modeling.texts import CLIP_VOCABULARY, TextConfig
from captionseg.modeling.towers import TowersConfig
from captionseg.records import UserError, one_line
from captionseg.storage import write_json, write_tensors

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
    (rf"{OURS}grouping\.pre_assign\.attn\.([qkv])\.", rf"{STAGE}.\1.downsample.pre_assign_attn.attn.\2_proj."),
    (rf"{OURS}grouping\.pre_assign\.attn\.proj\.", rf"{STAGE}.\1.downsample.pre_assign_attn.attn.out_proj."),
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
INSIDE_BLOCKS = ((".attn.qkv.", ".self_attn.qkv."), (".attn.proj.", ".self_attn.out_proj."),
                 (".norm1.", ".layer_norm1."), (".norm2.", ".layer_norm2."))  # fmt: skip
INSIDE_PROJECTORS = {"fc1": "0", "norm": "1", "fc2": "3"}


def their_name(name: str) -> str:
    """The name of one of our tensors in a checkpoint of transformers; q, k and v of a block are still one: `.qkv.`."""
    name = name.removeprefix("towers.")
    new = next(new for new in (re.sub(a, b, name) for a, b in RENAMES if re.match(a, name)))
    if re.search(r"\.layers\.\d+\.", new):
        for mine, theirs in INSIDE_BLOCKS:
            new = new.replace(mine, theirs)
    if new.startswith(("visual_projection.", "text_projection.")):
        head, inside, tail = new.split(".")
        new = f"{head}.{INSIDE_PROJECTORS[inside]}.{tail}"
    return new


def to_theirs(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict under the names of transformers."""
    out = {}
    for name, tensor in state.items():
        if name == "concept_scale":
            continue
        new = their_name(name)
        if ".qkv." in new:
            for part, chunk in zip("qkv", tensor.chunk(3), strict=True):
                out[new.replace(".qkv.", f".{part}_proj.")] = chunk.contiguous()
        else:
            out[new] = tensor
    return out


def to_ours(state: Mapping[str, Tensor], model: GroupViT) -> dict[str, Tensor]:
    """A state dict of transformers under the names of our model of the same shape.

    Raises:
        UserError: naming a tensor that is missing, of another shape, or left over.
    """
    left, out = dict(state), {}
    for name, own in model.state_dict().items():
        if name == "concept_scale":
            out[name] = own
            continue
        new = their_name(name)
        names = [new.replace(".qkv.", f".{p}_proj.") for p in "qkv"] if ".qkv." in new else [new]
        if missing := [n for n in names if n not in left]:
            raise UserError(f"not a GroupViT of this shape: no tensor {missing[0]}")
        found = torch.cat([left.pop(n) for n in names]) if len(names) > 1 else left.pop(new)
        if found.shape != own.shape:
            raise UserError(f"not a GroupViT of this shape: {new} is {list(found.shape)}, expected {list(own.shape)}")
        out[name] = found
    if rest := [n for n in left if not n.endswith("position_ids") and n != "multi_label_logit_scale"]:
        raise UserError(f"not a GroupViT of this shape: nothing takes {rest[0]} ({len(rest)} tensors are left over)")
    return out


def config_of(theirs: Mapping[str, Any]) -> GroupViTConfig:
    """Our config of their config.json; what it does not say has the published value."""
    base, vision, text = groupvit_small(), theirs.get("vision_config") or {}, theirs.get("text_config") or {}
    towers = base.towers
    given = {"size": "image_size", "patch": "patch_size", "width": "hidden_size", "heads": "num_attention_heads",
             "depths": "depths", "group_tokens": "num_group_tokens", "assign_eps": "assign_eps"}  # fmt: skip
    changes = {ours: vision[name] for ours, name in given.items() if name in vision}
    tokens = changes.get("group_tokens", towers.encoder.group_tokens)
    groups = list(vision.get("num_output_groups", [*towers.encoder.groups, towers.encoder.groups[-1]]))
    encoder = dataclasses.replace(towers.encoder, **changes, groups=groups[: sum(t > 0 for t in tokens)])
    words = TextConfig("clip", width=text.get("hidden_size", 256), depth=text.get("num_hidden_layers", 12),
                       heads=text.get("num_attention_heads", 4), vocabulary=text.get("vocab_size", 49408))
    return dataclasses.replace(base, towers=TowersConfig(
        encoder, words, hidden=theirs.get("projection_intermediate_dim", towers.hidden),
        embedding=theirs.get("projection_dim", towers.embedding), norm="batch"))


def config_to(config: GroupViTConfig) -> dict[str, Any]:
    """Their config.json of our config."""
    encoder, words = config.towers.encoder, config.towers.text
    vision = {"hidden_size": encoder.width, "intermediate_size": 4 * encoder.width, "depths": encoder.depths,
              "num_hidden_layers": sum(encoder.depths), "num_group_tokens": encoder.group_tokens,
              "num_output_groups": [*encoder.groups, encoder.groups[-1]][: len(encoder.depths)],
              "num_attention_heads": encoder.heads, "image_size": encoder.size, "patch_size": encoder.patch,
              "assign_eps": encoder.assign_eps}  # fmt: skip
    text = {"hidden_size": words.width, "intermediate_size": 4 * words.width, "num_hidden_layers": words.depth,
            "num_attention_heads": words.heads, "vocab_size": words.vocabulary or CLIP_VOCABULARY}  # fmt: skip
    return {"model_type": "groupvit", "architectures": ["GroupViTModel"], "projection_dim": config.towers.embedding,
            "projection_intermediate_dim": config.towers.hidden, "vision_config": vision,
            "text_config": text}  # fmt: skip


def read_theirs(folder: Path) -> GroupViT:
    """The model of a folder in the layout of transformers, in evaluation mode.

    Raises:
        UserError: for a folder that holds no GroupViT.
    """
    try:
        config = json.loads((folder / "config.json").read_text())
        if config.get("model_type") != "groupvit":
            raise UserError(f"{folder}: a checkpoint of {config.get('model_type')!r}, not of groupvit")
        tensors, binary = folder / "model.safetensors", folder / "pytorch_model.bin"
        state = load_file(tensors) if tensors.exists() else torch.load(binary, weights_only=True, map_location="cpu")
        model = GroupViT(config_of(config))
        model.load_state_dict(to_ours(state, model))
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: no such file; give the folder of a GroupViT of transformers") from None
    except UnpicklingError:
        raise UserError(f"{binary}: holds more than tensors, and such a file can run code") from None
    except (ValueError, TypeError, AttributeError, SafetensorError, RuntimeError) as error:
        raise UserError(f"{folder}: not a checkpoint of GroupViT: {one_line(error)}") from None
    except UserError as error:
        raise UserError(f"{folder}: {str(error).removeprefix(f'{folder}: ')}") from None
    return model.eval()


def expressible(towers: TowersConfig) -> bool:
    """Whether transformers has a model of this form."""
    encoder = towers.encoder
    form = encoder.tokens, encoder.backbone, encoder.patch_norm, encoder.binding, towers.text.kind, towers.norm
    return form == ("pixels", "", True, "groupvit", "clip", "batch")


def convert(source: Path, target: Path) -> str:
    """Convert a folder of either layout into the other; returns what was written.

    Raises:
        UserError: for a source that is neither, or a GroupViT that transformers cannot express.
    """
    try:
        ours = "model" in json.loads((source / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{source}/config.json: cannot be read ({error})") from None
    if not ours:
        saved.save(target, "groupvit", read_theirs(source), {"prompts": "simple", "origin": source.name})
        return f"{target}: a groupvit of captionseg"
    found = saved.load(source)
    config = getattr(found.model, "config", None)
    if not isinstance(config, GroupViTConfig) or not expressible(config.towers):
        raise UserError(f"{source}: only a groupvit on patches of pixels with text: clip, binding: groupvit and norm: "
                        "batch has a counterpart in transformers")
    state = to_theirs({k: v.contiguous() for k, v in found.model.state_dict().items()})
    write_tensors(state, target / "model.safetensors", {"format": "pt"})
    write_json(config_to(config), target / "config.json")
    return f"{target}: a GroupViTModel of transformers"
