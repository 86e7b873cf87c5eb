"""The learning rate of each training step."""

from __future__ import annotations

from typing import Any

import torch

from captionseg.records import UserError
from captionseg.training.params import PretrainParams


def make_scheduler(optimiser: torch.optim.Optimizer, params: PretrainParams, steps: int) -> Any:
    """Build the scheduler of the learning rate: one_cycle, or poly (see `poly_factor`).

    Args:
        optimiser: the optimiser.
        params: section `pretrain`.
        steps: number of steps of the whole fit.

    Raises:
        UserError: if the warm-up is longer than the training.
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
    """Return the factor of the learning rate in step t of T: (1 - t / T)^power.

    In the first `warmup` steps it is multiplied by (t + 1) / warmup.
    """
    return max(0.0, 1.0 - step / steps) ** power * min(1.0, (step + 1) / max(1, warmup))
