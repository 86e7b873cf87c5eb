"""The device and precision of a computation. Models, losses and metrics do not use it; their
callers prepare tensors with it.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import torch

from captionseg.records import UserError
from captionseg.runtime.params import Precision

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Runtime:
    """A device and the precision of its matrix products, both resolved (not auto)."""

    device: str = "cpu"
    precision: Precision = "fp32"

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Return a context for mixed precision; it does nothing at fp32."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.split(":")[0], dtype=_DTYPES[self.precision])

    def prepare(self, module: torch.nn.Module) -> torch.nn.Module:
        """Move a module to the device, in evaluation mode and channels-last layout."""
        layout: Any = {"memory_format": torch.channels_last}  # missing in torch's type hints
        return module.to(self.device, **layout).eval()

    def synchronize(self) -> None:
        """Wait for the device, for measuring time."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)

    def to(self, tensor: torch.Tensor) -> torch.Tensor:
        """Move a tensor of any shape to the device."""
        return tensor.to(self.device, non_blocking=True)


def detect(device: str = "auto", precision: Precision = "fp32") -> Runtime:
    """Return the runtime for a configured device and precision.

    Args:
        device: `auto` uses a GPU if there is one.
        precision: `auto` uses bf16 if the hardware supports it, otherwise fp32.

    Raises:
        UserError: if the device does not exist or its kind is unknown.
    """
    available = torch.cuda.is_available()
    try:
        kind = torch.device("cpu" if device == "auto" else device)
    except RuntimeError:
        kind = None
    if kind is None or kind.type not in ("cpu", "cuda"):
        raise UserError(
            f"device {device!r}: no such device (valid: auto, cpu, cuda, cuda:N)"
        ) from None
    if device.startswith("cuda") and not available:
        raise UserError(f"device {device!r}: no CUDA GPU is visible; use device auto or cpu")
    if (
        kind.type == "cuda"
        and kind.index is not None
        and 0 < torch.cuda.device_count() <= kind.index
    ):
        raise UserError(
            f"device {device!r}: no such GPU; the last is cuda:{torch.cuda.device_count() - 1}"
        )
    chosen = ("cuda" if available else "cpu") if device == "auto" else device
    return Runtime(
        chosen, ("bf16" if has_bf16(chosen) else "fp32") if precision == "auto" else precision
    )


def full_precision(tensor: torch.Tensor) -> contextlib.AbstractContextManager[object]:
    """Return a context without autocast on the device of `tensor`, so that float32 matrix products
    stay float32.

    For logits that are scaled up or noised before a softmax, where half precision would change the
    result.
    """
    return torch.autocast(tensor.device.type, enabled=False)


def has_bf16(device: str) -> bool:
    """Return whether the device has bfloat16 hardware; emulation is slower than float32."""
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    supported = torch.cpu.get_capabilities()
    return device == "cpu" and any(
        supported.get(name, False) for name in ("avx512_bf16", "amx_bf16")
    )
