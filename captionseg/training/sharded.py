"""Training with parameters shared out over ranks: FSDP2, by torch's fully_shard.

Each rank keeps a part of every parameter, of its gradient and of the optimiser's state. The whole model is one unit: it
is put together for a step, since models use weights outside of forward, in losses and in means of weights. What is a
scalar, which cannot be parted, or is not trained lies whole on every rank.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from captionseg.runtime import ranks


def strategy(world: int) -> ModelParallelStrategy:
    """Lightning's strategy for it; checkpoints are one file, with all weights."""
    return ModelParallelStrategy(world, 1, save_distributed_checkpoint=False)


def twin(model: nn.Module) -> nn.Module:
    """A copy of a model's parameters and buffers, beside what the model refers to, such as a frozen encoder."""
    shared = [v for part in model.modules() for k, v in vars(part).items()
              if not k.startswith("_") and not isinstance(v, torch.Tensor)]
    return copy.deepcopy(model, {id(value): value for value in shared})


def split(model: nn.Module, mesh: DeviceMesh) -> None:
    """Share out the parameters of a model over Lightning's mesh."""
    whole = {p for p in model.parameters() if p.ndim == 0 or not p.requires_grad}
    fully_shard(model, mesh=mesh["data_parallel"], ignored_params=whole)


def apart(groups: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Groups of an optimiser, with shared out and whole parameters in groups of their own: it takes no mixed ones."""
    found = [{**group, "params": [p for p in group["params"] if isinstance(p, DTensor) is parted]}
             for group in groups for parted in (True, False)]
    return [group for group in found if group["params"]]


def average(model: nn.Module) -> None:
    """The mean over ranks of gradients of whole parameters; those of the others are summed up as they are parted."""
    for parameter in model.parameters():
        if parameter.grad is not None and not isinstance(parameter, DTensor):
            parameter.grad.copy_(ranks.total(parameter.grad) / ranks.size())


def clip(model: nn.Module, most: float) -> None:
    """Scale gradients down to a global norm of at most `most`."""
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    parts = [[g for g in grads if isinstance(g, DTensor) is parted] for parted in (True, False)]
    norms = [nn.utils.get_total_norm(part) for part in parts if part]
    norm = torch.stack([n.full_tensor() if isinstance(n, DTensor) else n for n in norms]).norm()
    scale = min(1.0, most / (norm.item() + 1e-6))
    for grad in grads:
        grad.mul_(scale)


def collect(model: nn.Module, into: nn.Module) -> None:
    """Put a shared out model's state into a whole one, on the first rank; every rank has to call it."""
    state = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if state:
        into.load_state_dict(state)
