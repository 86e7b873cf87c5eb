"""Detections: class-agnostic masks of the requested classes, such as parts of things (part
segmentation of USE).

A mask is compared with the requested classes and with others that only absorb the rest. For
PartImageNet, the paper adds COCO-Stuff's classes and the super-categories of the things.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from captionseg.inference.mask_scores import upsample_nearest
from captionseg.model_inputs import Inputs
from captionseg.modeling.readout.regions import get_masks


@dataclass(frozen=True)
class Detections:
    """The detections in one picture.

    Attributes:
        masks: masks, which may overlap.
        classes: their class numbers.
        scores: their scores in 0..1.
    """

    masks: Bool[np.ndarray, "mask height width"]
    classes: Int64[np.ndarray, " mask"]
    scores: Float32[np.ndarray, " mask"]


def detect_masks(
    model: Any,
    inputs: Inputs,
    classes: Float[Tensor, "class embedding"],
    reported: Bool[Tensor, " class"],
) -> Detections:
    """Return the masks of one picture whose best class is reported, with its probability as score.

    Args:
        model: a Segmenter that reads segments.
        inputs: inputs of one picture with masks, or else regions.
        classes: class embeddings, including classes that only absorb the rest.
        reported: [C], whether detections of a class are reported.
    """
    masks = get_masks(inputs)[0]
    score, best = model.mask_scores(inputs, classes)[0].float().max(1)
    selected = (reported[best] & masks.flatten(1).any(1)).nonzero()[:, 0]
    large = (
        upsample_nearest(masks[selected].to(torch.uint8), inputs.size)
        if len(selected)
        else masks.new_zeros(0, *inputs.size)
    )
    return Detections(
        large.bool().cpu().numpy(), best[selected].cpu().numpy(), score[selected].cpu().numpy()
    )
