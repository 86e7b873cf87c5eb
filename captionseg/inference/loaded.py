"""A loaded model with its frozen encoder.

Used by the command line, benchmarks, reports, serving, segment queries and the Python API.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from captionseg.encoders.encoder import Encoder
from captionseg.encoders.text_space import load_encoder
from captionseg.inference import ensemble
from captionseg.inference.model_encoder import check_head, find_encoder
from captionseg.model_inputs import Inputs
from captionseg.modeling.capabilities import ScoresMasks
from captionseg.modeling.segmenter import InputSpec
from captionseg.modeling.weights import saved
from captionseg.records import UserError
from captionseg.runtime.device import detect
from captionseg.storage.reading import read_json


@dataclass(frozen=True)
class LoadedModel:
    """A saved model with the frozen encoder that it was trained on.

    Attributes:
        model: a Segmenter, on `device`, in evaluation mode; its config is not changed.
        folder: folder that it was loaded from.
        frozen: returns the frozen encoder, loaded on first use.
        device: device of the model.
        name: key of MODELS.
        context: saved with the model: regions, prompts, refine, masks.
    """

    model: Any
    folder: Path
    frozen: Callable[[], Encoder]
    device: str
    name: str = ""
    context: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def load(
        folder: Path,
        *,
        device: str = "auto",
        frozen: Callable[[], Encoder] | None = None,
        train: str = "dvc repro",
    ) -> LoadedModel:
        """Load a model from a folder, ours or that of a GroupViT of transformers.

        Args:
            folder: its folder, such as models/cocu-mil, or that of an ensemble.
            device: auto, cpu, cuda or cuda:N.
            frozen: returns the frozen encoder; only called if needed. None loads the one next to
                the model.
            train: command that trains such a model, for the error message.

        Raises:
            UserError: for a folder without a model, or an encoder that differs from that of the
                training.
        """
        if (folder / ensemble.FILE).exists():
            return load_ensemble(folder, device=device, frozen=frozen, train=train)
        where, stored = detect(device).device, read_saved(folder, train)
        encoder = functools.cache(
            frozen or (lambda: load_encoder(find_encoder(folder), device=device))
        )
        model = stored.model.to(where)
        check_head(model, encoder, folder)
        return LoadedModel(model, folder, encoder, where, stored.name, stored.context)

    @property
    def reads(self) -> InputSpec:
        """What the model reads."""
        return self.model.config.reads

    def on_device(self, inputs: Inputs) -> Inputs:
        """Move inputs to the model's device."""
        return inputs.map(lambda tensor: tensor.to(self.device))


def read_saved(folder: Path, train: str) -> saved.SavedModel:
    """Read a model of ours, or a GroupViT of transformers as one of ours.

    Raises:
        UserError: see `captionseg.modeling.weights.saved.load` and
            `captionseg.modeling.weights.groupvit_checkpoint.load_transformers`.
    """
    if not is_of_transformers(folder):
        return saved.load(folder, train=train)
    from captionseg.modeling.weights.groupvit_checkpoint import load_transformers

    context = {"prompts": "simple", "origin": folder.name}
    return saved.SavedModel("groupvit", load_transformers(folder), context)


def is_of_transformers(folder: Path) -> bool:
    """Return whether config.json of a folder names a model type of transformers."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # explained by whoever loads it
        return False
    return isinstance(config, dict) and "model" not in config and "model_type" in config


def load_ensemble(folder: Path, **options: Any) -> LoadedModel:
    """Load an ensemble, see captionseg.inference.ensemble; prompts, regions and masks are those of
    its first model.

    Args:
        folder: folder of the ensemble.
        **options: as of LoadedModel.load.

    Raises:
        UserError: see LoadedModel.load, and for models that cannot be one.
    """
    members = [LoadedModel.load(path, **options) for path in ensemble.read_members(folder)]
    described = [
        read_json(find_encoder(one.folder) / "encoder.json") if options["frozen"] is None else None
        for one in members
    ]
    models = [one.model for one in members]
    ensemble.check_members(
        folder, list(zip((one.folder for one in members), models, described, strict=True))
    )
    return replace(members[0], model=ensemble.Ensemble(models), folder=folder)


def check_segments(model: Any, what: str) -> None:
    """Refuse masks for a model that does not read segments.

    Raises:
        UserError: starting with `what`.
    """
    if not isinstance(model, ScoresMasks):
        raise UserError(f"{what} does not read segments; remove masks, or use a model such as use")
