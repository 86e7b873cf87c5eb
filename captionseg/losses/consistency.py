"""Cross-image mask consistency of OVSegmentor, Eq. 10-12: masks of one picture by its own groups
and by another's.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def dice(
    target: Float[Tensor, "*mask token"],
    predicted: Float[Tensor, "*mask token"],
    mask: Bool[Tensor, "*#mask token"],
) -> Float[Tensor, " *mask"]:
    """1 - 2 |m and m'| / (|m| + |m'|), 0 where both are empty.

    Args:
        target: in 0..1.
        predicted: in 0..1.
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
    """For each mask of `own` the mask of `other` that it is matched with (Eq. 11).

    The permutation of largest summed cosine, by the Hungarian algorithm on the CPU.

    Args:
        own: masks, 0 at tokens that do not count.
        other: likewise.
    """
    a, b = (torch.nn.functional.normalize(m.detach().float(), dim=2) for m in (own, other))
    cost = -(a @ b.transpose(1, 2)).cpu().numpy()
    return torch.stack([torch.from_numpy(linear_sum_assignment(c)[1]) for c in cost]).to(own.device)


def mask_consistency(
    target: Float[Tensor, "batch group token"],
    predicted: Float[Tensor, "batch group token"],
    mask: Bool[Tensor, "batch token"],
    *,
    threshold: float,
    relative: bool = False,
) -> Float[Tensor, " batch"]:
    """Summed dice of one direction of Eq. 12.

    Args:
        target: masks by the picture's own groups, in 0..1; no gradient flows into them.
        predicted: masks by the other picture's groups.
        mask: which tokens are there.
        threshold: delta, above which a target is one; or the share of each mask's own maximum,
            where `relative` (as the released code has it).
        relative: see threshold.
    """
    valid = mask[:, None]
    target, predicted = target.detach() * valid, predicted * valid
    order = match_masks(target, predicted)[..., None].expand_as(predicted)
    limit = threshold * target.amax(2, keepdim=True) if relative else threshold
    return dice((target > limit).to(predicted.dtype), predicted.gather(1, order), valid).sum(1)
