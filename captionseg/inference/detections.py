"""Detections: class-agnostic masks that look like what is asked for; parts of things (part
segmentation of USE).

A mask is compared with all classes, those that are wanted and those that are only there to catch
the rest. The paper's parts of PartImageNet are asked for among COCO-Stuff's classes and the
super-categories of the things themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from captionseg.inference.masks import full_size
from captionseg.modeling.readout.regions import masks_of
from captionseg.records import Inputs


@dataclass(frozen=True)
class Detections:
    """What was found in one picture.

    Attributes:
        masks: they may overlap.
        classes: numbers of the classes that were asked for.
        scores: in 0..1.
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
    """The masks of one picture whose best class, of all, is wanted; the score is its probability.

    Args:
        model: a Segmenter that reads segments.
        inputs: of one picture; its masks, or its regions where it has none.
        classes: class embeddings, of the background's classes too.
        reported: [C], whether detections of a class are reported.
    """
    masks = masks_of(inputs)[0]
    score, best = model.mask_scores(inputs, classes)[0].float().max(1)
    selected = (reported[best] & masks.flatten(1).any(1)).nonzero()[:, 0]
    large = (
        full_size(masks[selected].to(torch.uint8), inputs.size)
        if len(selected)
        else masks.new_zeros(0, *inputs.size)
    )
    return Detections(
        large.bool().cpu().numpy(), best[selected].cpu().numpy(), score[selected].cpu().numpy()
    )
