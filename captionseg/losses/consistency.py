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


def binarise(
    masks: Float[Tensor, "batch group token"], threshold: float, *, relative: bool
) -> Float[Tensor, "batch group token"]:
    """Return 1 where a mask in 0..1 is above the threshold, or above this share of its maximum."""
    limit = threshold * masks.amax(2, keepdim=True) if relative else threshold
    return (masks > limit).to(masks.dtype)


def mask_consistency_loss(
    target: Float[Tensor, "batch group token"],
    predicted: Float[Tensor, "batch group token"],
    mask: Bool[Tensor, "batch token"],
    *,
    threshold: float,
    relative: bool = False,
) -> Float[Tensor, " batch"]:
    """Compute the sum of Eq. 12 for one picture of a pair: the dice losses of matched masks, summed
    over groups. L_mask is the mean of both pictures.

    Args:
        target: masks by the picture's own groups, in 0..1; gradients do not flow into them.
        predicted: masks by the other picture's groups, in 0..1.
        mask: False for padding tokens.
        threshold: delta, above which a target counts as 1.
        relative: whether `threshold` is a share of each mask's maximum.
    """
    valid = mask[:, None]
    target, predicted = target.detach() * valid, predicted * valid
    order = match_masks(target, predicted)[..., None].expand_as(predicted)
    hard = binarise(target, threshold, relative=relative)
    return dice_loss(hard, predicted.gather(1, order), valid).sum(1)


def group_consistency_loss(
    own: Float[Tensor, "batch group width"],
    other: Float[Tensor, "batch group width"],
    every: Float[Tensor, "picture all width"],
    number: Int64[Tensor, " batch"],
    *,
    temperature: float,
) -> Float[Tensor, " batch"]:
    """Compute the group consistency of Table 6 of OVSegmentor: InfoNCE that pulls matched groups of
    two pictures together, and pushes them from all other groups of the batch.

    The paper gives no equation. Groups are matched as masks are (Eq. 11), and the loss is the mean
    over groups.

    Args:
        own: selected groups of a picture, L2-normalised.
        other: selected groups of its partner, L2-normalised; gradients do not flow into them.
        every: all groups of the batch, of which `other` are some. Those of the picture itself are
            no negatives.
        number: of each picture in `every`.
        temperature: tau.
    """
    other, every = other.detach(), every.detach()
    order = match_masks(own, other)[..., None].expand_as(other)
    positive = (own * other.gather(1, order)).sum(2) / temperature
    logits = torch.einsum("bgw,paw->bgpa", own, every) / temperature
    itself = torch.arange(len(every), device=number.device) == number[:, None]
    logits = logits.masked_fill(itself[:, None, :, None], -torch.inf)
    return (logits.flatten(2).logsumexp(2) - positive).mean(1)


def released_mask_loss(
    target: Float[Tensor, "batch group token"],
    predicted: Float[Tensor, "batch group token"],
    mask: Bool[Tensor, "batch token"],
    *,
    threshold: float,
    relative: bool = True,
) -> Float[Tensor, " batch"]:
    """Compute the mask loss of the released code: one dice loss of all masks of a picture together,
    1 - (2 |m m'| + 1) / (|m| + |m'| + 1).

    Targets are binarised sigmoids. Predictions are scaled to 0..1, from their minimum to their
    maximum. Both are matched before, as logits.

    Args:
        target: logits by the picture's own groups; gradients do not flow into them.
        predicted: logits by the other picture's groups.
        mask: False for padding tokens.
        threshold: see mask_consistency_loss.
        relative: see mask_consistency_loss.
    """
    valid = mask[:, None]
    order = match_masks(target * valid, predicted * valid)[..., None].expand_as(predicted)
    hard = binarise(target.detach().sigmoid() * valid, threshold, relative=relative)
    low = predicted.masked_fill(~valid, torch.inf).amin(2, keepdim=True)
    high = predicted.masked_fill(~valid, -torch.inf).amax(2, keepdim=True)
    # of a picture without tokens both are infinite
    low, span = low.nan_to_num(posinf=0.0), (high - low).clamp(min=1e-6)
    scaled = ((predicted - low) / span * valid).gather(1, order)
    overlap, total = (hard * scaled).sum((1, 2)), hard.sum((1, 2)) + scaled.sum((1, 2))
    return 1.0 - (2.0 * overlap + 1.0) / (total + 1.0)
