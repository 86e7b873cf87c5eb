"""The learning rate of each training step."""

from __future__ import annotations

from typing import Any

import torch

from captionseg.records import UserError
from captionseg.training.params import PretrainParams


def make_scheduler(optimiser: torch.optim.Optimizer, params: PretrainParams, steps: int) -> Any:
    """The learning rate of each of `steps` iterations; see `poly_factor` for the second kind.

    Raises:
        UserError: if poly never comes up to the learning rate.
    """
    if params.schedule == "one_cycle":
        return torch.optim.lr_scheduler.OneCycleLR(
            optimiser, params.learning_rate, total_steps=steps
        )
    if params.warmup > steps:
        raise UserError(
            f"pretrain.warmup: {params.warmup} is more than the {steps} training steps; lower it, "
            "or raise pretrain.epochs"
        )
    return torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda t: poly_factor(t, steps, params.power, params.warmup)
    )


def poly_factor(step: int, steps: int, power: float, warmup: int = 0) -> float:
    """(1 - t / T)^power of the learning rate in iteration t of T; before `warmup` the share (t + 1)
    / warmup of it.
    """
    return max(0.0, 1.0 - step / steps) ** power * min(1.0, (step + 1) / max(1, warmup))
