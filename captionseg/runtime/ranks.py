"""Communication between the processes that train one model together (torch.distributed)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from captionseg.records import UserError
from captionseg.runtime.device import detect
from captionseg.runtime.launch import LostProcess, Place, read_place, start_processes
from captionseg.runtime.params import RuntimeParams

T = TypeVar("T")
_GONE = (
    "closed by peer",
    "Connection reset",
    "Broken pipe",
    "NCCL",
    "Timed out waiting",
    "recv, got 0 bytes",
)


class _Gather(torch.autograd.Function):
    """Replaces torch.distributed.nn's all_gather, which scrambles gradients that are not contiguous
    (torch 2.14).
    """

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:  # type: ignore[override]
        tensor = tensor.contiguous()
        ctx.size = len(tensor)
        parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, tensor)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total[dist.get_rank() * ctx.size :][: ctx.size]


def gather(tensor: Tensor) -> Tensor:
    """Concatenate the tensors [B, ..] of all W ranks to [W*B, ..], in rank order.

    Gradients of all ranks' losses are summed. All ranks must call it with the same shape, in the
    same order.
    """
    return _Gather.apply(tensor)


class _Add(torch.autograd.Function):
    """Sums over ranks, with the gradients of all ranks' losses."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:  # type: ignore[override]
        return sum_over_ranks(tensor.contiguous())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return sum_over_ranks(gradient.contiguous())


def add_over_ranks(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor of any shape over ranks.

    Gradients of all ranks' losses are summed. All ranks must call it with the same shape, in the
    same order.
    """
    return _Add.apply(tensor)


@contextlib.contextmanager
def join_ranks(params: RuntimeParams, device: str = "auto") -> Iterator[Place]:
    """Connect all ranks within the block; nested calls do nothing.

    Args:
        params: number of ranks; those of this machine are started if no launcher did, see
            captionseg.runtime.launch.
        device: see `detect`; each rank uses the GPU of its local number.

    Yields:
        the place of this process.

    Raises:
        UserError: if the environment is invalid, there are too few GPUs, or another rank was lost.
    """
    if params.devices * params.nodes == 1 or dist.is_initialized():
        yield read_place(params)
        return
    cuda = check_devices(params, device)
    with start_processes(params) as here:
        try:
            if cuda:
                torch.cuda.set_device(here.local)
            dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
            yield here
            share(None)  # waits until all ranks are done
        except RuntimeError as error:
            if any(sign in str(error) for sign in _GONE):
                raise LostProcess(
                    f"rank {here.rank} lost another rank ({str(error).splitlines()[0]}); run it "
                    "again to resume from the last checkpoint"
                ) from error
            raise
        dist.destroy_process_group()


def check_devices(params: RuntimeParams, device: str) -> bool:
    """Return whether ranks run on GPUs.

    Raises:
        UserError: if this machine has fewer GPUs than ranks.
    """
    if not detect(device).device.startswith("cuda"):
        return False
    if ":" in device:
        raise UserError(
            f"device {device!r} is a single GPU, but each rank needs its own (runtime.devices); "
            "use auto or cuda"
        )
    if torch.cuda.device_count() < params.devices:
        raise UserError(
            f"runtime.devices is {params.devices}, but only {torch.cuda.device_count()} GPUs are "
            "visible"
        )
    return True


def share(value: T) -> T:
    """Return the value of the first rank on all ranks; all ranks must call it."""
    if not dist.is_initialized():
        return value
    box = [value]
    dist.broadcast_object_list(box, 0, device=torch.device("cpu"))
    return box[0]


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor of any shape over ranks, without gradients; all ranks must call
    it.
    """
    if not dist.is_initialized():
        return tensor.detach()
    summed = tensor.detach().clone()
    dist.all_reduce(summed)
    return summed


def count_ranks() -> int:
    """Return W, the number of ranks."""
    return dist.get_world_size() if dist.is_initialized() else 1


def get_place(params: RuntimeParams) -> Place:
    """Return the place of this process.

    Raises:
        RuntimeError: if there are several ranks that are not connected, see `join_ranks`.
    """
    place = read_place(params)
    if place.world > 1 and not dist.is_initialized():
        raise RuntimeError(
            f"join the {place.world} processes first: `with ranks.join_ranks(runtime):`"
        )
    return place
