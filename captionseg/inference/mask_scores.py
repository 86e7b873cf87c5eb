"""Scores of pixels from overlapping masks: a pixel combines the scores of all its masks (inference
of USE).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor
from torch.nn import functional as F

from captionseg.model_inputs import Inputs
from captionseg.segmenters.mask_makers import MasksParams

BLOCK = 1 << 16  # pixels per block when only the best class of each is needed


def score_from_masks(
    model: Any, inputs: Inputs, classes: Float[Tensor, "class embedding"], params: MasksParams
) -> Float[Tensor, "class {inputs.size[0]} {inputs.size[1]}"]:
    """Compute the scores of all pixels of one picture.

    Args:
        model: a Segmenter that reads segments.
        inputs: of one picture, with masks.
        classes: class embeddings.
        params: how scores are aggregated. Pixels in no mask get the scores of the whole picture as
            a segment.
    """
    masks, scores, picture_scores = score_masks(model, inputs, classes)
    pixels = aggregate_scores(masks.flatten(1), scores, picture_scores, params.aggregate)
    return upsample_nearest(pixels.unflatten(1, masks.shape[1:]), inputs.size)


def label_from_masks(
    model: Any, inputs: Inputs, classes: Float[Tensor, "class embedding"], params: MasksParams
) -> Int64[Tensor, "{inputs.size[0]} {inputs.size[1]}"]:
    """Return the argmax of `score_from_masks`, without storing all scores."""
    masks, scores, picture_scores = score_masks(model, inputs, classes)
    best = [
        aggregate_scores(part, scores, picture_scores, params.aggregate).argmax(0)
        for part in masks.flatten(1).split(BLOCK, 1)
    ]
    return upsample_nearest(torch.cat(best).view(1, *masks.shape[1:]).float(), inputs.size)[
        0
    ].long()


def score_masks(
    model: Any, inputs: Inputs, classes: Float[Tensor, "class embedding"]
) -> tuple[Bool[Tensor, "mask rows columns"], Float[Tensor, "mask class"], Float[Tensor, " class"]]:
    """Return the masks of one picture, their probabilities, and those of the whole picture."""
    assert inputs.masks is not None
    whole_picture = inputs.masks.new_ones(1, 1, *inputs.masks.shape[2:])
    scores = model.mask_scores(
        replace(inputs, masks=torch.cat([inputs.masks, whole_picture], 1)), classes
    )[0].float()
    return inputs.masks[0], scores[:-1], scores[-1]


def aggregate_scores(
    masks: Bool[Tensor, "mask pixel"],
    scores: Float[Tensor, "mask class"],
    picture_scores: Float[Tensor, " class"],
    how: str,
) -> Float[Tensor, "class pixel"]:
    """Aggregate the scores of masks to scores of pixels.

    Args:
        masks: masks over pixels.
        scores: scores of the masks, 0 or more.
        picture_scores: scores of the whole picture, for pixels in no mask.
        how: see MasksParams.
    """
    if how == "sum":
        pixels = scores.T @ masks.float()
    else:
        pixels = scores.new_zeros(scores.shape[1], masks.shape[1])
        for mask, score in zip(masks, scores, strict=True):
            pixels[:, mask] = torch.maximum(pixels[:, mask], score[:, None])
    return torch.where(masks.any(0), pixels, picture_scores[:, None])


def upsample_nearest(
    values: Shaped[Tensor, "channel rows columns"], size: tuple[int, int]
) -> Shaped[Tensor, "channel {size[0]} {size[1]}"]:
    """Upsample values by nearest neighbours: each pixel gets the value of its cell."""
    return F.interpolate(values[None], size, mode="nearest-exact")[0]
