"""Tensors of all ranks, with the gradient that the loss of all of them has."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _Gather(torch.autograd.Function):
    """torch.distributed.nn's all_gather writes gradients that are not contiguous in scrambled order (torch 2.14)."""

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
    """[B, ..] of this rank -> [W*B, ..] of all ranks in their order; gradients of all ranks' losses are summed.

    Every rank has to call it with the same shape, in the same order.
    """
    return _Gather.apply(tensor)
