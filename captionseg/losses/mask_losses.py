"""Losses of masks that need no true masks, and hard masks with gradients (TCL, Cha et al. 2023)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Num
from torch import Tensor


def area_prior_loss(
    area: Float[Tensor, " *batch"], counted: Num[Tensor, " *batch"], prior: float
) -> Float[Tensor, ""]:
    """|mean area - prior|, where the mean is over all masks together; 0 if there are none.

    Args:
        area: summed areas of masks, as shares of a picture.
        counted: number of masks in each sum.
        prior: expected area, as a share of a picture.
    """
    count = counted.sum()
    return torch.where(count > 0, (area.sum() / count.clamp(min=1) - prior).abs(), 0.0)


def total_variation(maps: Float[Tensor, "*batch rows columns"]) -> Float[Tensor, ""]:
    """Mean absolute difference between vertical neighbours plus that between horizontal ones."""
    down, right = maps[..., 1:, :] - maps[..., :-1, :], maps[..., 1:] - maps[..., :-1]
    return sum(
        (step.abs().mean() for step in (down, right) if step.numel()), start=maps.new_zeros(())
    )


def harden_masks(logits: Float[Tensor, " *batch"], noise: float = 1.0) -> Float[Tensor, " *batch"]:
    """Convert logits to masks of 0 and 1 with the gradient of the soft masks.

    This is the straight-through Gumbel-sigmoid.

    Args:
        logits: logits of masks.
        noise: factor of the logistic noise (the difference of two Gumbel variables); 0 thresholds
            the soft masks at 0.5.
    """
    if noise:
        uniform = torch.rand_like(logits).clamp(1e-6, 1.0 - 1e-6)
        logits = logits + noise * (uniform.log() - torch.log1p(-uniform))
    soft = logits.sigmoid()
    return (soft > 0.5).to(soft.dtype) - soft.detach() + soft
