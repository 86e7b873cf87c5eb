"""Several models that classify segments as one: the mean of their probabilities (USE, section 4.3,
where the second model was trained on annotations).

An ensemble is a folder with `ensemble.json`: {"models": ["../segments-use", "../given-use"]}. The
folders of its models are named from there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from captionseg.model_inputs import Inputs
from captionseg.modeling.capabilities import ScoresMasks
from captionseg.modeling.readout.regions import make_region_masks, paint_labels, paint_scores
from captionseg.records import UserError, one_line
from captionseg.storage.reading import read_json

FILE = "ensemble.json"


class Ensemble(nn.Module):
    """The mean of the probabilities of models; see the module's docstring. It is a Segmenter that
    is not trained.

    Args:
        models: at least two that read segments, of the same inputs.
    """

    def __init__(self, models: Sequence[Any]) -> None:
        super().__init__()
        self.models, self.config = nn.ModuleList(models), models[0].config

    def mask_scores(
        self, inputs: Inputs, class_embeddings: Float[Tensor, "class embedding"]
    ) -> Float[Tensor, "batch mask class"]:
        """See ScoresMasks."""
        scores = [model.mask_scores(inputs, class_embeddings) for model in self.models]  # type: ignore[operator]
        return torch.stack(scores).mean(0)

    def segment(
        self, inputs: Inputs, class_embeddings: Float[Tensor, "class embedding"]
    ) -> Float[Tensor, "batch class {inputs.size[0]} {inputs.size[1]}"]:
        """See Segmenter: each pixel has the scores of its region."""
        return paint_scores(self.region_scores(inputs, class_embeddings), inputs)

    def label(
        self, inputs: Inputs, class_embeddings: Float[Tensor, "class embedding"]
    ) -> Int64[Tensor, "batch {inputs.size[0]} {inputs.size[1]}"]:
        """See Segmenter: each pixel has the best class of its region."""
        return paint_labels(self.region_scores(inputs, class_embeddings), inputs)

    def region_scores(
        self, inputs: Inputs, class_embeddings: Float[Tensor, "class embedding"]
    ) -> Float[Tensor, "batch region class"]:
        """Return the probabilities of class-agnostic regions."""
        masks = make_region_masks(inputs.labels, inputs.region_mask.shape[1])
        whole = Inputs(**{**vars(inputs), "masks": masks.bool()})
        return self.mask_scores(whole, class_embeddings)


def read_members(folder: Path) -> list[Path]:
    """Return the folders of the models of an ensemble.

    Raises:
        UserError: if the file does not name two models or more.
    """
    names = read_json(folder / FILE)
    try:
        members = [folder / name for name in names["models"]]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise UserError(f"{folder / FILE}: names no models: {one_line(error)}") from None
    if len(members) < 2:
        raise UserError(f"{folder / FILE}: names {len(members)} models; give two or more")
    return members


def check_members(folder: Path, members: Sequence[tuple[Path, Any, Any]]) -> None:
    """Refuse models that cannot be one.

    Args:
        folder: of the ensemble.
        members: folder, model and description of the frozen encoder of each.

    Raises:
        UserError: for a model that reads no segments, or other inputs or another encoder than the
            first.
    """
    first, one, encoder = members[0]
    inputs = ("picture", "dense", "cells")
    for path, model, described in members:
        reads, expected = model.config.reads, one.config.reads
        if not isinstance(model, ScoresMasks):
            raise UserError(
                f"{folder / FILE}: {path} reads no segments; name models such as use alone"
            )
        if any(getattr(reads, name) != getattr(expected, name) for name in inputs):
            raise UserError(f"{folder / FILE}: {path} reads other inputs than {first}")
        if described != encoder:
            raise UserError(
                f"{folder / FILE}: {path} was trained with another encoder than {first}"
            )
