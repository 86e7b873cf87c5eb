"""The learning rate of each training step."""

from __future__ import annotations

import math
from typing import Any

import torch

from captionseg.records import UserError
from captionseg.training.params import PretrainParams


def make_scheduler(optimiser: torch.optim.Optimizer, params: PretrainParams, steps: int) -> Any:
    """Build the scheduler of the learning rate: one_cycle, poly (see `poly_factor`) or
    warmup_cosine (see `cosine_factor`).

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
    warmup = count_warmup_steps(params, steps)
    if params.schedule == "poly":
        return torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda t: poly_factor(t, steps, params.power, warmup)
        )
    return torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda t: cosine_factor(
            t, steps, warmup=warmup, warmup_from=params.warmup_from, floor=params.floor
        ),
    )


def count_warmup_steps(params: PretrainParams, steps: int) -> int:
    """Return the number of warm-up steps in a fit of `steps` steps.

    Raises:
        UserError: if the warm-up is longer than the training.
    """
    if params.warmup_unit == "epochs":
        if params.warmup > params.epochs:
            raise UserError(
                f"pretrain.warmup: {params.warmup} epochs are more than the {params.epochs} of the "
                "training; lower it, or raise pretrain.epochs"
            )
        return params.warmup * (steps // params.epochs)
    if params.warmup > steps:
        raise UserError(
            f"pretrain.warmup: {params.warmup} is more than the {steps} training steps; lower it, "
            "or raise pretrain.epochs"
        )
    return params.warmup


def poly_factor(step: int, steps: int, power: float, warmup: int = 0) -> float:
    """Return the factor of the learning rate in step t of T: (1 - t / T)^power.

    In the first `warmup` steps it is multiplied by (t + 1) / warmup.
    """
    return max(0.0, 1.0 - step / steps) ** power * min(1.0, (step + 1) / max(1, warmup))


def cosine_factor(step: int, steps: int, *, warmup: int, warmup_from: float, floor: float) -> float:
    """Return the factor of the learning rate in step t of T, as GroupViT, CoCu and OVSegmentor
    have it.

    It rises linearly from `warmup_from` towards 1 in the first W = `warmup` steps. From then on it
    is floor + (1 - floor) (1 + cos(pi t / T)) / 2. The cosine begins in step 0, so that the factor
    is a little less than 1 in step W.
    """
    if step < warmup:
        return warmup_from + (1.0 - warmup_from) * step / warmup
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / steps)))
