"""Training with parameters sharded over ranks: FSDP2, with torch's fully_shard.

Each rank stores a shard of every parameter, its gradient and the optimiser's state. The model is
one unit that is gathered for each step, because models use weights outside of forward, in losses
and in means of weights. Scalars, which cannot be sharded, and frozen parameters are replicated.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from captionseg.runtime import ranks
from captionseg.training.lean_lightning import ModelParallelStrategy


class ShardedStrategy(ModelParallelStrategy):
    """Lightning's strategy for sharded training; checkpoints are the same as those of one process.

    torch's own loading of the state of all ranks (2.14) fails if a parameter has no optimiser state
    yet, as those that are trained late.

    Args:
        world: number of ranks.
    """

    def __init__(self, world: int) -> None:
        super().__init__(world, 1, save_distributed_checkpoint=False)

    def optimizer_state(self, optimizer: Any) -> dict[str, Any]:
        """Return the state of all ranks, in the groups before `separate_sharded`; all ranks must
        call it.
        """
        saved, numbers = optimizer.state_dict(), self.order(optimizer)
        state = {
            new: {
                name: value.full_tensor().cpu() if isinstance(value, DTensor) else value
                for name, value in saved["state"][old].items()
            }
            for new, old in enumerate(itertools.chain(*numbers))
            if old in saved["state"]
        }
        groups, at = [], 0
        for which, members in enumerate(numbers):
            like = next((group for group in saved["param_groups"] if group["of"] == which), {})
            groups.append(
                {
                    **{k: v for k, v in like.items() if k != "of"},
                    "params": list(range(at, at + len(members))),
                }
            )
            at += len(members)
        return {"state": state, "param_groups": groups}

    def order(self, optimizer: Any) -> list[list[int]]:
        """Return the numbers of the optimiser's parameters in each group before
        `separate_sharded`.
        """
        assert self.model is not None
        position = {id(p): at for at, p in enumerate(self.model.parameters())}
        members: list[list[tuple[int, int]]] = [
            [] for _ in range(1 + max(g["of"] for g in optimizer.param_groups))
        ]
        number = itertools.count()
        for group in optimizer.param_groups:
            members[group["of"]] += [(position[id(p)], next(number)) for p in group["params"]]
        return [[number for _, number in sorted(some)] for some in members]

    def load_checkpoint(
        self, checkpoint_path: Any, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """See ModelParallelStrategy; each rank loads its shards of the parameters of a file."""
        checkpoint = torch.load(checkpoint_path, map_location="cpu", weights_only=True)
        assert self.model is not None
        with torch.no_grad():
            for name, tensor in itertools.chain(
                self.model.named_parameters(), self.model.named_buffers()
            ):
                if name in checkpoint["state_dict"]:
                    tensor.copy_(_part(checkpoint["state_dict"][name], tensor))
        for optimiser, saved in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            self.load_optimiser(optimiser, saved)
        return checkpoint

    def load_optimiser(self, optimiser: Any, saved: dict[str, Any]) -> None:
        """Load the result of `optimizer_state` into an optimiser."""
        own, numbers = optimiser.state_dict(), list(itertools.chain(*self.order(optimiser)))
        parameters = [
            parameter for group in optimiser.param_groups for parameter in group["params"]
        ]
        state = {
            numbers[new]: {
                name: value if name == "step" else _part(value, parameters[numbers[new]])
                for name, value in values.items()
            }
            for new, values in saved["state"].items()
        }
        groups = [
            {**saved["param_groups"][group["of"]], "params": group["params"], "of": group["of"]}
            for group in own["param_groups"]
        ]
        optimiser.load_state_dict({"state": state, "param_groups": groups})


def _part(full: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return the rank's shard of a full tensor, sharded like another tensor."""
    full = full.to(like.device)
    if not isinstance(like, DTensor):
        return full
    return distribute_tensor(full, like.device_mesh, like.placements, src_data_rank=None)


def copy_parameters(model: nn.Module) -> nn.Module:
    """Copy a model with its parameters and buffers; other attributes, such as a frozen encoder, are
    shared.
    """
    shared = [
        v
        for part in model.modules()
        for k, v in vars(part).items()
        if not k.startswith("_") and not isinstance(v, torch.Tensor)
    ]
    return copy.deepcopy(model, {id(value): value for value in shared})


def split(model: nn.Module, mesh: DeviceMesh) -> None:
    """Shard the parameters of a model over Lightning's mesh."""
    replicated = {p for p in model.parameters() if p.ndim == 0 or not p.requires_grad}
    fully_shard(model, mesh=mesh["data_parallel"], ignored_params=replicated)


def separate_sharded(groups: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Split the groups of an optimiser into sharded and replicated parameters, which it cannot mix;
    `of` is the number of the original group.
    """
    parts = [
        {
            **group,
            "of": which,
            "params": [p for p in group["params"] if isinstance(p, DTensor) is parted],
        }
        for which, group in enumerate(groups)
        for parted in (True, False)
    ]
    return [group for group in parts if group["params"]]


def average(model: nn.Module) -> None:
    """Average the gradients of replicated parameters over ranks; FSDP averages the sharded ones."""
    for parameter in model.parameters():
        if parameter.grad is not None and not isinstance(parameter, DTensor):
            parameter.grad.copy_(ranks.sum_over_ranks(parameter.grad) / ranks.count_ranks())


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
    """Copy the state of a sharded model to a full model on the first rank; all ranks
    must call it.
    """
    # slow to import, and only sharded runs need it
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    state = get_model_state_dict(
        model, options=StateDictOptions(full_state_dict=True, cpu_offload=True)
    )
    if state:
        into.load_state_dict(state)
