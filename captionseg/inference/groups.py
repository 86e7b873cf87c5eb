"""Which group of a grouping model took which part of a picture, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from captionseg.inference.predictor import Predictor
from captionseg.inference.windows import resize_short_side
from captionseg.model_inputs import Inputs
from captionseg.modeling.layers.grouping import compose_assignments
from captionseg.modeling.readout.group_readout import GroupSegmenter
from captionseg.modeling.readout.regions import upsample_labels
from captionseg.modeling.readout.zero_shot import assign_pixels
from captionseg.prepared import pixel_inputs
from captionseg.records import UserError


@dataclass(frozen=True)
class GroupedPicture:
    """The groups of a picture.

    Attributes:
        stages: for each stage of the model, int64 [H, W], the group that each pixel belongs to
            most.
        counts: number of groups of each stage; some may have no pixel.
        embeddings: float32 [G, D], the last stage's groups in the space of texts, L2-normalised.
    """

    stages: list[np.ndarray]
    counts: list[int]
    embeddings: np.ndarray


def find_groups(predictor: Predictor, image: np.ndarray) -> GroupedPicture:
    """Find the groups of a picture, which a model that reads pixels sees whole.

    Args:
        predictor: of a model with groups.
        image: uint8 [H, W, 3].

    Raises:
        UserError: for a model without groups.
    """
    model, loaded = predictor.model, predictor.labeller.loaded
    if not isinstance(model, GroupSegmenter):
        raise UserError(
            f"{loaded.folder}: a {loaded.name} has no groups; give a groupvit or an ovsegmentor"
        )
    size, towers = (image.shape[0], image.shape[1]), model.towers
    inputs = loaded.on_device(see_whole(predictor, predictor.prepare(image)))
    with torch.inference_mode():
        encoded = towers.vision(inputs.image, inputs.regions, inputs.region_mask)
        stages, counts = [], []
        for number in range(1, len(encoded.maps) + 1):
            assignment = compose_assignments(encoded.maps[:number])
            counts.append(assignment.shape[1])
            stages.append(paint(assignment, encoded.grid, inputs, size))
        embeddings = towers.embed(encoded.groups)[0].float().cpu().numpy()
    return GroupedPicture(stages, counts, embeddings)


def see_whole(predictor: Predictor, inputs: Inputs) -> Inputs:
    """Return inputs whose picture, if it is read, is seen at once, as large as in windows."""
    side = predictor.labeller.reads.picture
    if not side or inputs.image is None:
        return inputs
    image = resize_short_side(inputs.image[0], predictor.protocol.windows.short_side or 2 * side)
    return pixel_inputs(image[None], (image.shape[1], image.shape[2]))


def paint(
    assignment: torch.Tensor, grid: tuple[int, int] | None, inputs: Inputs, size: tuple[int, int]
) -> np.ndarray:
    """Return the group of each pixel, int64 [H, W].

    Args:
        assignment: [1, G, N] of tokens to groups.
        grid: rows and columns of the tokens; None if they are regions.
        inputs: of the picture.
        size: H and W.
    """
    if grid is not None:
        return assign_pixels(assignment.unflatten(2, grid), size)[0].cpu().numpy()
    return assignment.argmax(1)[0][upsample_labels(inputs)[0]].cpu().numpy()


def name_groups(
    predictor: Predictor, groups: GroupedPicture, words: Sequence[str]
) -> list[tuple[str, float]]:
    """Name each group of the last stage by the word that fits it best, with the cosine.

    Args:
        predictor: see `find_groups`.
        groups: what it found.
        words: labels, or concepts of the training.
    """
    model: Any = predictor.model
    classes = predictor.labeller.with_classes(words).classes
    assert classes is not None
    with torch.inference_mode():
        vectors = model.towers.embed_classes(classes).float().cpu().numpy()
    cosine = groups.embeddings @ vectors.T
    best = cosine.argmax(1).tolist()
    return [(str(words[word]), float(cosine[n, word])) for n, word in enumerate(best)]
