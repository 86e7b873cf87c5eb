"""Tensors of files that others wrote: nothing in them runs, and none of them is NaN or infinite."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from captionseg.records import UserError, one_line
from captionseg.runtime import torchscript

WRAPPERS = ("state_dict", "model", "teacher", "student")
PREFIXES = re.compile(r"^(module\.|backbone\.)+")


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a file by name: safetensors, a checkpoint of torch that holds tensors alone,
    or TorchScript.

    Raises:
        UserError: if it is missing, holds anything that could run, or a tensor that is not finite.
    """
    path = Path(path)
    try:
        content = _load(path)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path}: no such file of weights") from None
    except UnpicklingError:
        raise UserError(
            f"{path}: contains more than tensors, so it could run code; use safetensors"
        ) from None
    except Exception as error:  # whatever a reader of foreign files may raise
        raise UserError(
            f"{path}: not a file of weights: {one_line(error) or type(error).__name__}"
        ) from None
    if not isinstance(content, Mapping):
        raise UserError(
            f"{path}: not a file of weights: it contains a {type(content).__name__}, not tensors "
            "by name"
        )
    while (
        inner := next((content[w] for w in WRAPPERS if isinstance(content.get(w), Mapping)), None)
    ) is not None:
        content = inner
    tensors = {PREFIXES.sub("", str(k)): v for k, v in content.items() if isinstance(v, Tensor)}
    if not tensors:
        raise UserError(f"{path}: not a file of weights: it contains no tensors")
    check_finite(tensors, path)
    return tensors


def _load(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return load_file(path)
    if torchscript.is_archive(path):
        return torchscript.read(path)
    return torch.load(path, weights_only=True, map_location="cpu")


def read_metadata(path: Path | str) -> dict[str, str]:
    """What a safetensors file says of itself beside its tensors; nothing for files of other
    kinds.
    """
    try:
        with Path(path).open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            metadata = json.loads(stream.read(min(length, 1 << 27))).get("__metadata__") or {}
    except (OSError, struct.error, ValueError, AttributeError):
        return {}
    return (
        {str(key): str(value) for key, value in metadata.items()}
        if isinstance(metadata, dict)
        else {}
    )


def check_finite(tensors: Mapping[str, Tensor], source: Path | str) -> None:
    """Refuse weights of which a number is NaN or infinite: what they compute is the same class
    everywhere.

    Args:
        tensors: name -> tensor; of integers nothing is asked.
        source: file or folder that they come from, for the error.

    Raises:
        UserError: that names the source and the first such tensor.
    """
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or tensor.is_meta or not tensor.numel():
            continue
        # The least and the largest number: twenty times as fast as `isfinite`, and NaN if one is.
        # Of 8 bits torch has none; what no float32 can hold becomes infinite in the model.
        tensor = (
            tensor
            if tensor.dtype in (torch.float32, torch.float16, torch.bfloat16)
            else tensor.float()
        )
        low, high = torch.aminmax(tensor.detach())
        if not torch.isfinite(torch.stack((low, high))).all():
            kind = "NaN" if low.isnan() or high.isnan() else "infinite numbers"
            raise UserError(
                f"{source}: tensor {name} contains {kind}, so the weights are unusable; use "
                "another file or train again"
            )


def load_into(
    module: nn.Module, weights: Mapping[str, Tensor], source: Path | str, what: str
) -> None:
    """Copy tensors into a module that has exactly these, in any float precision.

    Args:
        module: takes them.
        weights: name -> tensor.
        source: file or folder that they come from, for the error.
        what: the module, in words.

    Raises:
        UserError: naming a tensor that is missing, left over, of another shape, no float where one
            is needed, or not finite.
    """
    own = {
        name: tensor for name, tensor in module.state_dict().items() if isinstance(tensor, Tensor)
    }
    for name, tensor in own.items():
        if name in weights:
            check_like(name, weights[name], tensor, source, what)
        elif not name.endswith("num_batches_tracked"):
            raise UserError(f"{source}: does not fit {what}: it has no tensor {name}")
    if rest := [name for name in weights if name not in own]:
        more = f" (and {len(rest) - 1} more)" if len(rest) > 1 else ""
        raise UserError(f"{source}: does not fit {what}: unexpected tensor {rest[0]}{more}")
    check_finite(weights, source)
    module.load_state_dict(dict(weights), strict=False)


def check_like(name: str, tensor: Tensor, own: Tensor, source: Path | str, what: str) -> None:
    """Refuse a tensor of another shape, or whole numbers (of a quantised checkpoint) for weights.

    Raises:
        UserError: that says which.
    """
    if tensor.shape != own.shape:
        raise UserError(
            f"{source}: does not fit {what}: {name} is {list(tensor.shape)}, expected "
            f"{list(own.shape)}"
        )
    if own.is_floating_point() != tensor.is_floating_point():
        raise UserError(
            f"{source}: does not fit {what}: {name} is {name_dtype(tensor)}, "
            f"expected {name_dtype(own)}; quantised checkpoints are not supported"
        )


def name_dtype(tensor: Tensor) -> str:
    """Its type of numbers, such as float16."""
    return str(tensor.dtype).removeprefix("torch.")
