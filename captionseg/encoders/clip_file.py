"""Reads files of CLIP's weights: tensors by open_clip's names, and what else decides the results.

A state dict records neither the activation of the MLPs, nor the number of attention heads, nor the
mean and deviation of pixels. They are read from the file, its name and the files next to it, and
never guessed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from captionseg.records import UserError, one_line
from captionseg.runtime.weights import read_metadata, read_weights

OPENAI = ("input_resolution", "context_length", "vocab_size")
"""Numbers among the tensors of OpenAI's own files, all of which have QuickGELU."""
BY_TAG = "open_clip, which knows it by its name,"
NAMES = {"quick_gelu": True, "quickgelu": True, "gelu": False}
OPENAI_PIXELS = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
ATTENTION_HEADS = {"vision_config": 12, "text_config": 8}
"""Defaults of transformers if a config.json does not set them."""
FROM_TRANSFORMERS = (
    (r"^text_model\.embeddings\.token_embedding\.weight$", "token_embedding.weight"),
    (r"^text_model\.embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^text_model\.final_layer_norm\.", "ln_final."),
    (r"^text_model\.encoder\.layers\.", "transformer.resblocks."),
    (r"^text_projection\.weight$", "text_projection"),
    (r"^vision_model\.embeddings\.class_embedding$", "visual.class_embedding"),
    (r"^vision_model\.embeddings\.patch_embedding\.", "visual.conv1."),
    (r"^vision_model\.embeddings\.position_embedding\.weight$", "visual.positional_embedding"),
    (r"^vision_model\.pre_layrnorm\.", "visual.ln_pre."),
    (r"^vision_model\.post_layernorm\.", "visual.ln_post."),
    (r"^vision_model\.encoder\.layers\.", "visual.transformer.resblocks."),
    (r"^visual_projection\.weight$", "visual.proj"),
    (r"\.self_attn\.out_proj\.", ".attn.out_proj."),
    (r"\.layer_norm1\.", ".ln_1."),
    (r"\.layer_norm2\.", ".ln_2."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
)


class ActivationEvidence(NamedTuple):
    """Whether weights were trained with QuickGELU (else GELU), and the source of
    this information.
    """

    quick: bool
    by: str


class Pixels(NamedTuple):
    """Mean and deviation of three channels, for pixels in 0..1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class ClipFile:
    """A file of CLIP's weights.

    Attributes:
        path: path of the file.
        tensors: tensors by open_clip's names.
        evidence: evidence of the activation from all sources; empty if there is none.
        pixels: mean and deviation of pixels; None if unknown.
        config: the config next to the file, {"model_cfg": ..} of open_clip or
            {"vision_config": .., "text_config": ..} of transformers; empty if there is none.
    """

    path: Path
    tensors: dict[str, Tensor]
    evidence: tuple[ActivationEvidence, ...]
    pixels: Pixels | None
    config: Mapping[str, Any]


def read_clip(path: Path | str, tag: Mapping[str, Any] | None = None) -> ClipFile:
    """Read a file of weights and the files next to it.

    Args:
        path: safetensors, tensors of torch, or TorchScript, with names of open_clip, OpenAI or
            transformers.
        tag: what open_clip knows about the file; None for an unknown file.

    Raises:
        UserError: for a file that cannot be read, see `read_weights`, or an unreadable config.
    """
    path = Path(path)
    tensors = read_weights(path)
    evidence, pixels, config = [], None, {}
    if sum(name in tensors for name in OPENAI) > 1:
        evidence.append(ActivationEvidence(True, "the format of OpenAI's files"))
        pixels = Pixels(*OPENAI_PIXELS)
    evidence += read_header(path)
    for read in (read_open_clip_config, read_transformers_config, read_timm_config):
        contents = read(path.parent)
        if contents is not None:
            evidence += [contents[0]] if contents[0] else []
            pixels, config = pixels or contents[1], config or contents[2]
    if tag is not None:
        evidence.append(ActivationEvidence(bool(tag.get("quick_gelu")), BY_TAG))
        pixels = pixels or Pixels(tuple(tag["mean"]), tuple(tag["std"]))
    other = path.parent / "preprocessor_config.json"
    pixels = pixels or read_pixels(other, read_config(other), "image_mean", "image_std")
    evidence += read_name(path)
    return ClipFile(path, rename_tensors(tensors), tuple(evidence), pixels, config)


def read_header(path: Path) -> list[ActivationEvidence]:
    """Read the activation from the header of a safetensors file."""
    metadata = {key.lower(): value.lower() for key, value in read_metadata(path).items()}
    out = [
        ActivationEvidence(NAMES[metadata[key]], f"its metadata, {key}")
        for key in ("hidden_act", "activation", "act_layer")
        if metadata.get(key) in NAMES
    ]
    if metadata.get("quick_gelu") in ("true", "false", "1", "0"):
        out.append(
            ActivationEvidence(metadata["quick_gelu"] in ("true", "1"), "its metadata, quick_gelu")
        )
    return out


def read_name(path: Path) -> list[ActivationEvidence]:
    """Read the activation from the name of a file or its folder: `openai` and `quickgelu`."""
    for name in (path.name, path.absolute().parent.name):
        if re.search(r"quick[-_]?gelu|(^|[^a-z])openai([^a-z]|$)", name.lower()):
            return [ActivationEvidence(True, f"the name {name}")]
    return []


def read_open_clip_config(
    folder: Path,
) -> tuple[ActivationEvidence, Pixels | None, dict[str, Any]] | None:
    """Read activation, normalisation and config from an open_clip_config.json; None if there is
    none.

    Raises:
        UserError: if it cannot be read.
    """
    path = folder / "open_clip_config.json"
    config = read_config(path)
    if not isinstance(config.get("model_cfg"), dict):
        return None
    pixels = read_pixels(path, config.get("preprocess_cfg") or {}, "mean", "std")
    return (
        ActivationEvidence(bool(config["model_cfg"].get("quick_gelu", False)), path.name),
        pixels,
        config,
    )


def read_transformers_config(
    folder: Path,
) -> tuple[ActivationEvidence, Pixels | None, dict[str, Any]] | None:
    """Read activation, normalisation and config from the config.json and preprocessor_config.json
    of a CLIP of transformers; None if there is none.

    Raises:
        UserError: if they cannot be read, or for another activation.
    """
    path = folder / "config.json"
    config = read_config(path)
    parts = [part for name in ATTENTION_HEADS if isinstance(part := config.get(name), dict)]
    if config.get("model_type", "clip") != "clip" or len(parts) < len(ATTENTION_HEADS):
        return None
    # quick_gelu is the default of transformers
    acts = {str(part.get("hidden_act", "quick_gelu")) for part in parts}
    if len(acts) > 1 or not acts <= NAMES.keys():
        raise UserError(
            f"{path}: hidden_act is {' and '.join(sorted(acts))}; both towers must have "
            "quick_gelu, or both gelu"
        )
    other = folder / "preprocessor_config.json"
    pixels = read_pixels(other, read_config(other), "image_mean", "image_std")
    return ActivationEvidence(NAMES[acts.pop()], f"{path.name}, hidden_act"), pixels, config


def read_timm_config(
    folder: Path,
) -> tuple[ActivationEvidence | None, Pixels | None, dict[str, Any]] | None:
    """Read activation (of a CLIP alone) and normalisation from the config.json of a timm image
    tower; None if there is none.

    Raises:
        UserError: if it cannot be read.
    """
    path = folder / "config.json"
    config = read_config(path)
    name, preprocessing = config.get("architecture"), config.get("pretrained_cfg")
    if not isinstance(name, str) or not isinstance(preprocessing, dict):
        return None
    quick = ActivationEvidence("quickgelu" in name.lower(), f"{path.name}, architecture")
    return (
        quick if "clip" in name.lower() else None,
        read_pixels(path, preprocessing, "mean", "std"),
        {},
    )


def read_pixels(path: Path, config: Mapping[str, Any], mean: str, std: str) -> Pixels | None:
    """Read mean and deviation from a config; None if it has none.

    Args:
        path: file of the config, for messages.
        config: the config.
        mean: key of the mean.
        std: key of the deviation.

    Raises:
        UserError: if they are not three numbers each.
    """
    if mean not in config or std not in config:
        return None
    values = [config[mean], config[std]]
    if not all(
        isinstance(v, list) and len(v) == 3 and all(isinstance(x, int | float) for x in v)
        for v in values
    ):
        raise UserError(f"{path}: {mean} and {std} must be three numbers each")
    return Pixels(*(tuple(map(float, v)) for v in values))


def read_config(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty if there is no such file.

    Raises:
        UserError: if the file cannot be read.
    """
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read ({one_line(error)}); it describes the weights next to it"
        ) from None
    return config if isinstance(config, dict) else {}


def rename_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename tensors of OpenAI or transformers to open_clip's names, without numbers that are no
    weights.
    """
    weights = {
        name: tensor
        for name, tensor in tensors.items()
        if name not in OPENAI and not name.endswith((".position_ids", "attn_mask"))
    }
    if (
        not {
            "text_model.embeddings.token_embedding.weight",
            "vision_model.embeddings.class_embedding",
        }
        <= weights.keys()
    ):
        return weights  # not by transformers, or not a CLIP
    out, split = {}, {}
    for name, tensor in weights.items():
        new = name
        for old, own in FROM_TRANSFORMERS:
            new = re.sub(old, own, new)
        if part := re.search(r"\.self_attn\.([qkv])_proj\.(weight|bias)$", new):
            split.setdefault(f"{new[: part.start()]}.attn.in_proj_{part[2]}", {})[part[1]] = tensor
        else:
            out[new] = (
                tensor.T.contiguous() if new in ("text_projection", "visual.proj") else tensor
            )
    return out | {
        name: torch.cat([parts[k] for k in "qkv"])
        for name, parts in split.items()
        if len(parts) == 3
    }
