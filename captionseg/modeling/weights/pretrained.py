"""Weights to start from: a ViT's (DINO's) for a group encoder, those of a timm network, and of
frozen towers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.encoders.activation import ActivationRequest, choose_activation, name_activation
from captionseg.encoders.clip_file import ClipFile, read_clip
from captionseg.encoders.lite0_minilm import image_weights
from captionseg.modeling.layers.backbone import BackboneBlocks, BackboneMaps, Network, statistics
from captionseg.modeling.layers.clip_tower import PREFIX, ClipTower
from captionseg.modeling.layers.tokens import PatchTokens
from captionseg.modeling.towers.group_encoder import GroupEncoder
from captionseg.records import UserError
from captionseg.runtime.weights import check_like, read_weights

PACKAGED = "packaged"


def start_from(encoder: GroupEncoder) -> None:
    """Give a fresh encoder the weights that its config names, if it names any.

    Raises:
        UserError: for weights that do not fit.
    """
    path = encoder.config.weights
    if not path or not isinstance(encoder.tokens, PatchTokens):
        return
    if path == PACKAGED:
        check_packaged("backbone", encoder.config.backbone)
        net = encoder.tokens.projection.net  # type: ignore[union-attr]
        net.load_state_dict(image_weights(net), strict=False)  # type: ignore[union-attr,arg-type]
        return
    maps = encoder.tokens.projection
    if isinstance(maps, BackboneMaps):
        file = read_clip(path)
        check_activation(file, Network(encoder.config.backbone, path), maps.net)
        fill(maps.net, resize_positions(file.tensors, maps.net), path)
        take_pixels(maps, file)
    else:
        fill(
            encoder,
            rename_vit(read_weights(path), encoder, encoder.tokens.side),
            path,
            needed=("tokens.projection", "stages"),
        )


def check_packaged(where: str, name: str) -> None:
    """Raises UserError for a network whose weights no package holds."""
    if name != "tf_efficientnet_lite0":
        raise UserError(f"weights: packaged are those of {where}: tf_efficientnet_lite0")


def frozen_blocks(network: Network) -> BackboneBlocks:
    """A frozen tower with its weights; nobody's random numbers are touched.

    Files hold timm's names, or those that timm knows to translate for a ViT: a whole CLIP of
    open_clip, of which the visual part is taken, or Meta's DINOv2. Those of `open_clip:NAME` are a
    whole CLIP of open_clip.

    Raises:
        UserError: if no weights are named, or they do not fit.
    """
    path = network.weights
    if not path:
        raise UserError(
            f"networks: {network.name} has no weights; name a file (safetensors, or tensors of "
            "torch)"
        )
    with torch.random.fork_rng(devices=()):
        blocks = BackboneBlocks(network)
    if path == PACKAGED:
        check_packaged("networks", network.name)
        blocks.net.load_state_dict(image_weights(blocks.net), strict=False)
        return blocks
    file = read_clip(path)
    check_activation(file, network, blocks.net)
    given = (
        file.tensors
        if isinstance(blocks.net, ClipTower)
        else timm_names(file.tensors, blocks.net, path)
    )
    fill(blocks.net, given, path)
    take_pixels(blocks, file)
    return blocks


def check_activation(file: ClipFile, network: Network, net: nn.Module) -> None:
    """Refuse weights of a CLIP for a network with another activation: their shapes are the same.

    Raises:
        UserError: that names the network which the file is of, or both where nothing says which.
    """
    name = network.name
    if "clip" not in name.lower():
        return
    listed = clip_twin(name) if name.startswith(PREFIX) else timm_twin(name)
    has = any(type(module).__name__ == "QuickGELU" for module in net.modules())
    request = ActivationRequest(
        network.activation, has, "" if has else listed, name, "networks: activation"
    )
    quick = choose_activation(file, request)
    if quick != has:
        says = (
            f"{file.evidence[0].by} says"
            if file.evidence
            else f"activation: {network.activation} says"
        )
        other = listed if quick else name.replace("_quickgelu", "").removesuffix("-quickgelu")
        raise UserError(
            f"{file.path}: {says} {name_activation(quick)}, but {name} has "
            f"{name_activation(has)}; name {other or 'a network of the other kind'}"
        )


def clip_twin(name: str) -> str:
    """open_clip's network of the same shape with QuickGELU; empty where it has none."""
    import open_clip

    twin = f"{name}-quickgelu"
    return twin if twin.removeprefix(PREFIX) in open_clip.list_models() else ""


def timm_twin(name: str) -> str:
    """timm's network of the same shape with QuickGELU; empty where it has none, or a tag names
    weights.
    """
    import timm

    twin = re.sub(r"_clip_(?!quickgelu)", "_clip_quickgelu_", name)
    return twin if twin != name and "." not in name and timm.is_model(twin) else ""


def take_pixels(module: BackboneMaps | BackboneBlocks, file: ClipFile) -> None:
    """Give a network the mean and the deviation that a file says its pictures were normalised by,
    where it does.
    """
    if file.pixels is not None:
        for name, value in zip(("factor", "shift"), statistics(file.pixels._asdict()), strict=True):
            getattr(module, name).copy_(value)


def timm_names(given: dict[str, Tensor], net: Any, path: str) -> dict[str, Tensor]:
    """A ViT's tensors under timm's names, by timm's own translation, which may not change what fits
    no patch or grid.

    Raises:
        UserError: for other patches or another grid, which timm would resample without a word.
    """
    foreign = "visual.class_embedding", "mask_token", "visual.trunk.pos_embed"
    if not hasattr(net, "patch_embed") or not any(name in given for name in foreign):
        return given
    from timm.models.vision_transformer import checkpoint_filter_fn

    prefix = next((p for p in ("visual.trunk.", "") if f"{p}pos_embed" in given), "")
    clip = {
        "patch_embed.proj.weight": "visual.conv1.weight",
        "pos_embed": "visual.positional_embedding",
    }
    for own, name in clip.items():
        name = name if name in given else prefix + own
        tensor, expected = given.get(name), net.get_parameter(own)
        if tensor is not None and "register_tokens" in given and own == "pos_embed":
            tensor = tensor[:, 1:]  # that of [CLS], which timm adds to it
        if tensor is not None and tensor.numel() != expected.numel():
            raise UserError(
                f"{path}: does not fit this network: {name} is {list(tensor.shape)}, expected "
                f"{list(expected.shape)}"
            )
    return checkpoint_filter_fn(given, net)


def rename_vit(given: Mapping[str, Tensor], encoder: GroupEncoder, side: int) -> dict[str, Tensor]:
    """A ViT's tensors (timm's and DINO's names) under those of a group encoder: its blocks one
    after the other.

    What groups (tokens, bindings) has no counterpart; the class token is dropped.
    """
    depths = encoder.config.depths
    place = [(stage, number) for stage, depth in enumerate(depths) for number in range(depth)]
    out = {}
    for name, tensor in given.items():
        if (block := re.match(r"blocks\.(\d+)\.(.+)", name)) and int(block[1]) < len(place):
            stage, number = place[int(block[1])]
            out[f"stages.{stage}.blocks.{number}.{block[2]}"] = tensor
        elif name.startswith("patch_embed.proj."):
            out[name.replace("patch_embed.proj", "tokens.projection")] = tensor
        elif name.startswith("norm."):
            out[name] = tensor
        elif name == "pos_embed":
            out["tokens.position"] = positions(tensor, side)
    return out


def positions(given: Tensor, side: int) -> Tensor:
    """[1, side^2, D] of learnt positions [1, prefix + n^2, D]: prefix tokens dropped, the grid
    resized (bicubic).
    """
    old = int(given.shape[1] ** 0.5)
    grid = given[:, given.shape[1] - old**2 :]
    if old == side:
        return grid
    square = grid.float().unflatten(1, (old, old)).permute(0, 3, 1, 2)
    return (
        F.interpolate(square, (side, side), mode="bicubic", align_corners=False)
        .flatten(2)
        .transpose(1, 2)
    )


def resize_positions(given: dict[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """With the learnt positions of a ViT as many as its network has."""
    own = dict(net.named_parameters()).get("pos_embed")
    if own is None or "pos_embed" not in given or given["pos_embed"].shape == own.shape:
        return given
    side = int(own.shape[1] ** 0.5)
    prefix = own.shape[1] - side**2
    grid = positions(given["pos_embed"], side)
    return given | {"pos_embed": torch.cat([given["pos_embed"][:, :prefix], grid], 1)}


def fill(
    module: nn.Module,
    given: Mapping[str, Tensor],
    path: Path | str,
    *,
    needed: tuple[str, ...] = ("",),
) -> None:
    """Copy tensors into a module by name; what is given beside them, such as a classifier, is left
    alone.

    Args:
        module: takes them.
        given: name -> tensor.
        path: for errors.
        needed: prefixes of the module's tensors that must be given, but for those of groups, which
            no ViT has.

    Raises:
        UserError: naming a tensor that is missing, or has another shape.
    """
    own = module.state_dict()
    ours = re.compile(r"^(stages\.\d+\.(group_token|grouping|project)|tokens\.norm)")
    for name, tensor in own.items():
        if name not in given:
            if (
                name.startswith(needed)
                and not ours.search(name)
                and not name.endswith("num_batches_tracked")
            ):
                raise UserError(f"{path}: does not fit this network: no tensor {name}")
        else:
            check_like(name, given[name], tensor, path, "this network")
    module.load_state_dict({k: v for k, v in given.items() if k in own}, strict=False)
