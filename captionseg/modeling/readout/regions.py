"""Converts scores of regions to scores and labels of pixels, and labels of regions to masks."""

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
    """Return the scores of pixels: each has those of its region."""
    index = upsample_labels(inputs).flatten(1)[:, None].expand(-1, scores.shape[2], -1)
    return scores.transpose(1, 2).gather(2, index).unflatten(2, inputs.size)


def paint_labels(
    scores: Float[Tensor, "batch region class"], inputs: Inputs
) -> Int64[Tensor, "batch {inputs.size[0]} {inputs.size[1]}"]:
    """Return the argmax of `paint_scores` without computing scores of pixels."""
    return scores.argmax(2).gather(1, upsample_labels(inputs).flatten(1)).unflatten(1, inputs.size)


def average_regions(
    logits: Float[Tensor, "class height width"], inputs: Inputs
) -> Float[Tensor, "class height width"]:
    """Average the logits of one picture over each region.

    Raises:
        UserError: if the inputs have no regions.
    """
    if not inputs.region_mask.shape[1]:
        raise UserError(
            "refine: segments needs regions, but these inputs have none; a bug of the caller"
        )
    region = upsample_labels(inputs)[0].flatten()
    flat, count = logits.float().flatten(1), torch.bincount(region).clamp(min=1)
    total = flat.new_zeros(len(flat), len(count)).index_add_(1, region, flat)
    return (total / count)[:, region].view_as(logits)


def upsample_labels(inputs: Inputs) -> Int64[Tensor, "_ {inputs.size[0]} {inputs.size[1]}"]:
    """Return the number of each pixel's region, by nearest neighbours."""
    return F.interpolate(inputs.labels[:, None].float(), size=inputs.size, mode="nearest-exact")[
        :, 0
    ].long()


def get_masks(inputs: Inputs) -> Bool[Tensor, "batch mask h w"]:
    """Return the masks of pictures, or their regions if they have no masks."""
    return (
        make_region_masks(inputs.labels, inputs.region_mask.shape[1])
        if inputs.masks is None
        else inputs.masks
    )


def make_region_masks(
    labels: Integer[Tensor, "batch h w"], count: int
) -> Bool[Tensor, "batch {count} h w"]:
    """Return the masks of the regions with labels 0 to count - 1."""
    return labels[:, None] == torch.arange(count, device=labels.device)[:, None, None]
