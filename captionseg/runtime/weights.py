"""Reads tensors of foreign files, without running code, and checks that they are finite."""

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
    """Read the tensors of a file by name.

    Args:
        path: safetensors, a checkpoint of torch with only tensors, or TorchScript.

    Raises:
        UserError: if it is missing, has anything that could run code, or a tensor that is not
            finite.
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
    except Exception as error:  # invalid files can raise anything
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
    """Read the metadata of a safetensors file; empty for other files."""
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
    """Check that no weight is NaN or infinite; a model with such weights predicts nonsense.

    Args:
        tensors: name -> tensor of any shape; integers are ignored.
        source: their file or folder, for the message.

    Raises:
        UserError: naming the first such tensor.
    """
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or tensor.is_meta or not tensor.numel():
            continue
        # aminmax is twenty times as fast as `isfinite`, but does not support 8-bit floats; float64
        # is checked as float32, because the model would round it
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
        module: the module.
        weights: name -> tensor.
        source: their file or folder, for the message.
        what: description of the module, for the message.

    Raises:
        UserError: naming a tensor that is missing, unexpected, of another shape or kind of number,
            or not finite.
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
    """Check that a tensor has the shape of a module's own, and that both are floats or integers.

    Args:
        name: name of the tensor.
        tensor: the tensor, of any shape.
        own: the module's tensor.
        source: file or folder, for the message.
        what: description of the module, for the message.

    Raises:
        UserError: if they differ, for example for a quantised checkpoint.
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
    """Return the name of a tensor's dtype, such as float16."""
    return str(tensor.dtype).removeprefix("torch.")
