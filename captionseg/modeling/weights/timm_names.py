"""Tensors of image towers by the names that timm gives them.

Most files are converted by timm itself: open_clip's, Meta's DINOv2, DINOv3 and PE, BEiT and others.
Those that transformers writes of DINOv3 and SigLIP are renamed here.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from captionseg.records import UserError, one_line

DINOV3 = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.patch_embeddings\.", "patch_embed.proj."),
    (r"^(model\.)?layer\.", "blocks."),
    (r"\.attention\.o_proj\.", ".attn.proj."),
    (r"\.attention\.", ".attn."),
    (r"\.layer_scale(\d)\.lambda1$", r".gamma_\1"),
    (r"\.mlp\.gate_proj\.", ".mlp.fc1_g."),
    (r"\.mlp\.down_proj\.", ".mlp.fc2."),
)
SIGLIP = (
    (r"^embeddings\.patch_embedding\.", "patch_embed.proj."),
    (r"^embeddings\.position_embedding\.weight$", "pos_embed"),
    (r"^encoder\.layers\.", "blocks."),
    (r"\.layer_norm(\d)\.", r".norm\1."),
    (r"\.self_attn\.out_proj\.", ".attn.proj."),
    (r"\.self_attn\.", ".attn."),
    (r"^post_layernorm\.", "norm."),
    (r"^head\.probe$", "attn_pool.latent"),
    (r"^head\.attention\.out_proj\.", "attn_pool.proj."),
    (r"^head\.layernorm\.", "attn_pool.norm."),
    (r"^head\.mlp\.", "attn_pool.mlp."),
)
QKV = re.compile(r"(blocks\.\d+\.attn\.)([qkv])_proj\.(weight|bias)")
POOLED = re.compile(r"head\.attention\.in_proj_(weight|bias)")


def rename_for_timm(tensors: Mapping[str, Tensor], net: Any, path: str) -> dict[str, Tensor]:
    """Rename the tensors of a network to timm's names, unless they have these.

    Args:
        tensors: name -> tensor.
        net: the network of timm.
        path: file of the tensors, for messages.

    Raises:
        UserError: for another size of patches or grid, which timm would silently resample, or a
            bias that the network lacks.
    """
    out = dict(tensors)
    if out.keys() >= net.state_dict().keys():
        return out
    if "embeddings.register_tokens" in out:
        out = rename_dinov3(out)
    elif any(k.endswith("embeddings.position_embedding.weight") for k in out):
        out = rename_siglip(out)
    check_grid(out, net, path)
    check_biases(out, net, path)
    convert = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)
    if convert is None or out.keys() >= net.state_dict().keys():
        return out
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # timm prints each bias that is missing
            return convert(out, net)
    except (AttributeError, KeyError, RuntimeError, ValueError) as error:
        raise UserError(f"{path}: does not fit this network: {one_line(error)}") from None


def rename_dinov3(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of a DINOv3 of transformers."""
    rules = DINOV3
    if any(".mlp.gate_proj." in name for name in tensors):
        rules = (*rules, (r"\.mlp\.up_proj\.", ".mlp.fc1_x."))
    else:
        rules = (*rules, (r"\.mlp\.up_proj\.", ".mlp.fc1."))
    renamed = join_qkv(rename(tensors, rules))
    out = {}
    for name, tensor in renamed.items():
        if name.endswith("attn.qkv.bias"):
            q, _, v = tensor.chunk(3)
            stem = name.removesuffix("qkv.bias")
            out |= {f"{stem}q_bias": q, f"{stem}v_bias": v}
        else:
            out[name] = tensor
    return out


def rename_siglip(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of the image tower of a SigLIP or SigLIP 2 of transformers."""
    start = "vision_model." if any(k.startswith("vision_model.") for k in tensors) else ""
    vision = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
    out = join_qkv(rename(vision, SIGLIP))
    if "pos_embed" in out:
        out["pos_embed"] = out["pos_embed"][None]
    for name in [name for name in out if POOLED.fullmatch(name)]:
        kind, tensor = name.rpartition("_")[2], out.pop(name)
        width = len(tensor) // 3
        out[f"attn_pool.q.{kind}"] = tensor[:width]
        out[f"attn_pool.kv.{kind}"] = tensor[width:]
    return out


def rename(tensors: Mapping[str, Tensor], rules: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    """Rename tensors by rules of regular expressions, all of which are applied in order."""
    out = {}
    for name, tensor in tensors.items():
        for old, own in rules:
            name = re.sub(old, own, name)
        out[name] = tensor
    return out


def join_qkv(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Join the projections to queries, keys and values; a bias that is missing is 0."""
    out, parts = {}, {}
    for name, tensor in tensors.items():
        if match := QKV.fullmatch(name):
            parts.setdefault(f"{match[1]}qkv.{match[3]}", {})[match[2]] = tensor
        else:
            out[name] = tensor
    for name, given in parts.items():
        zero = torch.zeros_like(next(iter(given.values())))
        out[name] = torch.cat([given.get(letter, zero) for letter in "qkv"])
    return out


def check_grid(tensors: Mapping[str, Tensor], net: Any, path: str) -> None:
    """Check that patches and positions have the sizes that the network has.

    Raises:
        UserError: if they do not.
    """
    own = dict(net.named_parameters())
    for name, others in (
        ("patch_embed.proj.weight", ("patch_embed.proj.weight", "conv1.weight")),
        ("pos_embed", ("pos_embed", "positional_embedding")),
    ):
        places = [start + other for start in ("visual.trunk.", "visual.", "") for other in others]
        found = next((place for place in places if place in tensors), None)
        if found is None or name not in own:
            continue
        tensor, expected = tensors[found], own[name]
        if "register_tokens" in tensors and name == "pos_embed":
            tensor = tensor[:, 1:]  # without that of [CLS], which timm adds to the token
        if tensor.numel() != expected.numel():
            raise UserError(
                f"{path}: does not fit this network: {found} is {list(tensor.shape)}, expected "
                f"{list(expected.shape)}"
            )


def check_biases(tensors: Mapping[str, Tensor], net: Any, path: str) -> None:
    """Check that no bias of queries and values is lost in a DINOv3 without them.

    Raises:
        UserError: if the file has such a bias that is not 0.
    """
    own = {name for name, _ in net.named_parameters()}
    if "reg_token" not in own or "blocks.0.attn.q_bias" in own or "blocks.0.attn.qkv.bias" in own:
        return
    for name, tensor in tensors.items():
        kept = tensor.chunk(3)[::2] if name.endswith("attn.qkv.bias") else (tensor,)
        if name.endswith(("attn.qkv.bias", "attn.q_bias", "attn.v_bias")) and any(
            part.count_nonzero() for part in kept
        ):
            raise UserError(
                f"{path}: {name} is not 0, and this network has no such bias; name the network "
                "with _qkvb"
            )
