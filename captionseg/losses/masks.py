"""What is known of masks without any truth (TCL, Cha et al. 2023), and the hard masks that losses
look through.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Num
from torch import Tensor


def area_prior(
    area: Float[Tensor, " *batch"], counted: Num[Tensor, " *batch"], prior: float
) -> Float[Tensor, ""]:
    """|mean area - prior|: the mean over all masks that count together, not over each. 0 where none
    counts.

    Args:
        area: summed areas of masks, as shares of a picture.
        counted: how many masks each sum is over.
        prior: share of a picture.
    """
    count = counted.sum()
    return torch.where(count > 0, (area.sum() / count.clamp(min=1) - prior).abs(), 0.0)


def total_variation(maps: Float[Tensor, "*batch rows columns"]) -> Float[Tensor, ""]:
    """Mean absolute difference of neighbours below plus that of neighbours to the right."""
    down, right = maps[..., 1:, :] - maps[..., :-1, :], maps[..., 1:] - maps[..., :-1]
    return sum(
        (step.abs().mean() for step in (down, right) if step.numel()), start=maps.new_zeros(())
    )


def hard(logits: Float[Tensor, " *batch"], noise: float = 1.0) -> Float[Tensor, " *batch"]:
    """Masks of 0 and 1 from logits, with the gradient of the soft ones (straight-through
    Gumbel-sigmoid).

    Args:
        logits: of masks.
        noise: factor of the logistic noise (the difference of two Gumbel variables); 0 thresholds
            at one half.
    """
    if noise:
        uniform = torch.rand_like(logits).clamp(1e-6, 1.0 - 1e-6)
        logits = logits + noise * (uniform.log() - torch.log1p(-uniform))
    soft = logits.sigmoid()
    return (soft > 0.5).to(soft.dtype) - soft.detach() + soft
