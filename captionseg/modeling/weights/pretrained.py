"""Initial weights of group encoders (a ViT such as DINO's, or a timm network), and weights of
frozen towers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.encoders.activation import ActivationRequest, choose_activation, name_activation
from captionseg.encoders.clip_file import ClipFile, read_clip
from captionseg.encoders.lite0_minilm import image_weights
from captionseg.modeling.layers.backbone import (
    BackboneBlocks,
    BackboneMaps,
    Network,
    input_rescaling,
)
from captionseg.modeling.layers.clip_tower import PREFIX, ClipTower
from captionseg.modeling.layers.timm_tags import PACKAGED, check_tag, find_tag_pixels, is_tag
from captionseg.modeling.layers.tokens import PatchTokens
from captionseg.modeling.towers.group_encoder import GroupEncoder
from captionseg.modeling.weights.timm_names import rename_for_timm
from captionseg.records import UserError, one_line
from captionseg.runtime.weights import check_finite, check_like, read_weights


def start_from(encoder: GroupEncoder) -> None:
    """Load the initial weights that the config of an encoder names, if any.

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
        start_backbone(maps, Network(encoder.config.backbone, path))
    else:
        copy_weights(
            encoder,
            rename_vit(read_weights(path), encoder, encoder.tokens.side),
            path,
            needed=("tokens.projection", "stages"),
        )


def start_backbone(maps: BackboneMaps, network: Network) -> None:
    """Load the initial weights of a backbone, as those of a frozen tower; positions are resized.

    Raises:
        UserError: see `load_frozen_blocks`.
    """
    net, path = maps.net, network.weights
    if is_tag(path):
        blocks = download_blocks(network)
        copy_weights(net, resize_positions(blocks.net.state_dict(), net), path)
        maps.factor.copy_(blocks.factor)
        maps.shift.copy_(blocks.shift)
        return
    file = read_clip(path)
    check_activation(file, network, net)
    copy_weights(net, rename_for_timm(resize_positions(file.tensors, net), net, path), path)
    copy_normalisation(maps, file, network.name)


def check_packaged(where: str, name: str) -> None:
    """Check that the packaged weights are those of a network.

    Raises:
        UserError: if they are not.
    """
    if name != "tf_efficientnet_lite0":
        raise UserError(f"weights: packaged are those of {where}: tf_efficientnet_lite0")


def load_frozen_blocks(network: Network) -> BackboneBlocks:
    """Build a frozen tower with its weights, without changing the global random state.

    Tensors of a file may have timm's names or, for a ViT, names that can be converted, see
    captionseg.modeling.weights.timm_names. For `open_clip:NAME` the file is a whole CLIP of
    open_clip.

    Raises:
        UserError: if no weights are named, they cannot be downloaded, or they do not fit.
    """
    path = network.weights
    if not path:
        raise UserError(
            f"networks: {network.name} has no weights; name a file (safetensors, or tensors of "
            "torch), or a tag of timm"
        )
    if is_tag(path):
        return download_blocks(network)
    with torch.random.fork_rng(devices=()):
        blocks = BackboneBlocks(network)
    if path == PACKAGED:
        check_packaged("networks", network.name)
        blocks.net.load_state_dict(image_weights(blocks.net), strict=False)
        return blocks
    file = read_clip(path)
    check_activation(file, network, blocks.net)
    tensors = (
        file.tensors
        if isinstance(blocks.net, ClipTower)
        else rename_for_timm(file.tensors, blocks.net, path)
    )
    copy_weights(blocks.net, tensors, path)
    copy_normalisation(blocks, file, network.name)
    return blocks


def download_blocks(network: Network) -> BackboneBlocks:
    """Build a frozen tower with the weights of a tag of timm, which timm downloads and converts.

    Raises:
        UserError: for a tag that timm does not know, or a download that fails.
    """
    name = network.name.partition(".")[0] + f".{network.weights}"
    try:
        check_tag(name)
        with torch.random.fork_rng(devices=()):
            blocks = BackboneBlocks(replace(network, name=name), pretrained=True)
    except ValueError as error:
        raise UserError(f"networks: {one_line(error)}; or name a file") from None
    except Exception as error:  # whatever a client of the network may raise
        raise UserError(
            f"networks: cannot download the weights of {name}: {one_line(error)}; name a file"
        ) from None
    check_finite(blocks.net.state_dict(), name)
    return blocks


def check_activation(file: ClipFile, network: Network, net: nn.Module) -> None:
    """Refuse weights of a CLIP for a network with another activation, whose tensors are alike.

    Raises:
        UserError: naming the matching network, or both networks if the activation is unknown.
    """
    name = network.name
    if "clip" not in name.lower():
        return
    listed = find_clip_twin(name) if name.startswith(PREFIX) else find_timm_twin(name)
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


def find_clip_twin(name: str) -> str:
    """Return the name of open_clip's same network with QuickGELU; empty if there is none."""
    import open_clip

    twin = f"{name}-quickgelu"
    return twin if twin.removeprefix(PREFIX) in open_clip.list_models() else ""


def find_timm_twin(name: str) -> str:
    """Return the name of timm's same network with QuickGELU; empty if there is none, or the name
    has a tag of weights.
    """
    import timm

    twin = re.sub(r"_clip_(?!quickgelu)", "_clip_quickgelu_", name)
    return twin if twin != name and "." not in name and timm.is_model(twin) else ""


def copy_normalisation(module: BackboneMaps | BackboneBlocks, file: ClipFile, name: str) -> None:
    """Set a network's normalisation of pixels to that of its weights' file, if it is known: from
    the files beside it, or by a tag of timm in its path.

    Args:
        module: the network.
        file: the file.
        name: name of the network.
    """
    pixels = file.pixels._asdict() if file.pixels else find_tag_pixels(name, str(file.path))
    if pixels is not None:
        for buffer, value in zip(("factor", "shift"), input_rescaling(pixels), strict=True):
            getattr(module, buffer).copy_(value)


def rename_vit(
    tensors: Mapping[str, Tensor], encoder: GroupEncoder, side: int
) -> dict[str, Tensor]:
    """Rename a ViT's tensors (names of timm and DINO) to those of a group encoder.

    The blocks of the ViT fill the stages in order. The class token is dropped; group tokens and
    groupings have no counterpart.

    Args:
        tensors: name -> tensor.
        encoder: the group encoder.
        side: side of its grid in tokens, to which positions are resized.
    """
    depths = encoder.config.depths
    place = [(stage, number) for stage, depth in enumerate(depths) for number in range(depth)]
    out = {}
    for name, tensor in tensors.items():
        if (block := re.match(r"blocks\.(\d+)\.(.+)", name)) and int(block[1]) < len(place):
            stage, number = place[int(block[1])]
            out[f"stages.{stage}.blocks.{number}.{block[2]}"] = tensor
        elif name.startswith("patch_embed.proj."):
            out[name.replace("patch_embed.proj", "tokens.projection")] = tensor
        elif name.startswith("norm."):
            out[name] = tensor
        elif name == "pos_embed":
            out["tokens.position"] = resize_grid(tensor, side)
    return out


def resize_grid(positions: Tensor, side: int) -> Tensor:
    """Resize learnt positions [1, prefix + n^2, D] to [1, side^2, D] (bicubic), without prefix."""
    old = int(positions.shape[1] ** 0.5)
    grid = positions[:, positions.shape[1] - old**2 :]
    if old == side:
        return grid
    square = grid.float().unflatten(1, (old, old)).permute(0, 3, 1, 2)
    return (
        F.interpolate(square, (side, side), mode="bicubic", align_corners=False)
        .flatten(2)
        .transpose(1, 2)
    )


def resize_positions(tensors: dict[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """Resize the learnt positions among a ViT's tensors to those of its network."""
    own = dict(net.named_parameters()).get("pos_embed")
    if own is None or "pos_embed" not in tensors or tensors["pos_embed"].shape == own.shape:
        return tensors
    side = int(own.shape[1] ** 0.5)
    prefix = own.shape[1] - side**2
    grid = resize_grid(tensors["pos_embed"], side)
    return tensors | {"pos_embed": torch.cat([tensors["pos_embed"][:, :prefix], grid], 1)}


def copy_weights(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    path: Path | str,
    *,
    needed: tuple[str, ...] = ("",),
) -> None:
    """Copy tensors into a module by name; other tensors, such as a classifier, are ignored.

    Args:
        module: the module.
        tensors: name -> tensor.
        path: file of the tensors, for messages.
        needed: prefixes of the module's tensors that are required, except group tokens and
            groupings, which no ViT has.

    Raises:
        UserError: naming a tensor that is missing or has another shape.
    """
    own = module.state_dict()
    ours = re.compile(r"^(stages\.\d+\.(group_token|grouping|project)|tokens\.norm)")
    for name, tensor in own.items():
        if name not in tensors:
            if (
                name.startswith(needed)
                and not ours.search(name)
                and not name.endswith("num_batches_tracked")
            ):
                raise UserError(f"{path}: does not fit this network: no tensor {name}")
        else:
            check_like(name, tensors[name], tensor, path, "this network")
    module.load_state_dict({k: v for k, v in tensors.items() if k in own}, strict=False)
