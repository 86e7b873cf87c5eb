"""From scores of regions to pixels: each pixel has what its region has; regions and masks in one
form.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64, Integer
from torch import Tensor
from torch.nn import functional as F

from captionseg.model_inputs import Inputs
from captionseg.records import UserError


def paint_scores(
    scores: Float[Tensor, "batch region class"], inputs: Inputs
) -> Float[Tensor, "batch class {inputs.size[0]} {inputs.size[1]}"]:
    """Each pixel has the scores of its region."""
    index = full_size(inputs).flatten(1)[:, None].expand(-1, scores.shape[2], -1)
    return scores.transpose(1, 2).gather(2, index).unflatten(2, inputs.size)


def paint_labels(
    scores: Float[Tensor, "batch region class"], inputs: Inputs
) -> Int64[Tensor, "batch {inputs.size[0]} {inputs.size[1]}"]:
    """The argmax of `paint_scores`, taken before anything is painted."""
    return scores.argmax(2).gather(1, full_size(inputs).flatten(1)).unflatten(1, inputs.size)


def average_regions(
    logits: Float[Tensor, "class height width"], inputs: Inputs
) -> Float[Tensor, "class height width"]:
    """Logits of one picture of which each pixel has the mean of its region.

    Raises:
        UserError: if the inputs hold no regions.
    """
    if not inputs.region_mask.shape[1]:
        raise UserError(
            "refine: segments needs regions, but these inputs have none; a bug of the caller"
        )
    region = full_size(inputs)[0].flatten()
    flat, count = logits.float().flatten(1), torch.bincount(region).clamp(min=1)
    total = flat.new_zeros(len(flat), len(count)).index_add_(1, region, flat)
    return (total / count)[:, region].view_as(logits)


def full_size(inputs: Inputs) -> Int64[Tensor, "_ {inputs.size[0]} {inputs.size[1]}"]:
    """Region numbers of the pixels."""
    return F.interpolate(inputs.labels[:, None].float(), size=inputs.size, mode="nearest-exact")[
        :, 0
    ].long()


def masks_of(inputs: Inputs) -> Bool[Tensor, "batch mask h w"]:
    """The masks of pictures, or their regions where they have none."""
    return (
        region_masks(inputs.labels, inputs.region_mask.shape[1])
        if inputs.masks is None
        else inputs.masks
    )


def region_masks(
    labels: Integer[Tensor, "batch h w"], count: int
) -> Bool[Tensor, "batch {count} h w"]:
    """Where labels are 0, 1, .."""
    return labels[:, None] == torch.arange(count, device=labels.device)[:, None, None]
