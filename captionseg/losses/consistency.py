"""Cross-image mask consistency of OVSegmentor (Xu et al. 2023), Eq. 10-12.

The masks of a picture by its own groups are compared with those by the groups of another picture.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def dice_loss(
    target: Float[Tensor, "*mask token"],
    predicted: Float[Tensor, "*mask token"],
    mask: Bool[Tensor, "*#mask token"],
) -> Float[Tensor, " *mask"]:
    """Dice loss of each pair of masks: 1 - 2 |m m'| / (|m| + |m'|); 0 if both are empty.

    Args:
        target: masks in 0..1.
        predicted: masks in 0..1.
        mask: which tokens count.
    """
    target, predicted = target * mask, predicted * mask
    total = target.sum(-1) + predicted.sum(-1)
    return torch.where(
        total > 0, 1.0 - 2.0 * (target * predicted).sum(-1) / total.clamp(min=1e-6), 0.0
    )


def match_masks(
    own: Float[Tensor, "batch group token"], other: Float[Tensor, "batch group token"]
) -> Int64[Tensor, "batch group"]:
    """Match the masks of two sets (Eq. 11).

    The Hungarian algorithm, on the CPU, finds the permutation with the largest sum of cosines.

    Args:
        own: masks, 0 at tokens that do not count.
        other: masks, 0 at tokens that do not count.

    Returns:
        for each mask of `own` the index of its match in `other`.
    """
    from scipy.optimize import linear_sum_assignment  # slow to import, and few models match

    a, b = (torch.nn.functional.normalize(m.detach().float(), dim=2) for m in (own, other))
    cost = -(a @ b.transpose(1, 2)).cpu().numpy()
    return torch.stack([torch.from_numpy(linear_sum_assignment(c)[1]) for c in cost]).to(own.device)


def mask_consistency_loss(
    target: Float[Tensor, "batch group token"],
    predicted: Float[Tensor, "batch group token"],
    mask: Bool[Tensor, "batch token"],
    *,
    threshold: float,
    relative: bool = False,
) -> Float[Tensor, " batch"]:
    """One direction of Eq. 12: the dice losses of matched masks, summed over groups.

    Args:
        target: masks by the picture's own groups, in 0..1; gradients do not flow into them.
        predicted: masks by the other picture's groups, in 0..1.
        mask: False for padding tokens.
        threshold: delta, above which a target counts as 1.
        relative: whether `threshold` is a share of each mask's maximum, as in the released code.
    """
    valid = mask[:, None]
    target, predicted = target.detach() * valid, predicted * valid
    order = match_masks(target, predicted)[..., None].expand_as(predicted)
    limit = threshold * target.amax(2, keepdim=True) if relative else threshold
    return dice_loss((target > limit).to(predicted.dtype), predicted.gather(1, order), valid).sum(1)
