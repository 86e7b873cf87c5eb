"""A model on disk: model.safetensors and config.json, and nothing that can run code."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from captionseg.modeling.models import MODELS
from captionseg.records import UserError, one_line
from captionseg.runtime.weights import load_into
from captionseg.storage.writing import write_json, write_tensors
from captionseg.typed import build

CONCEPTS = "concepts.txt"
"""Beside a saved model: the concepts that its texts named."""


@dataclass(frozen=True)
class SavedModel:
    """A model and what it takes to use it.

    Attributes:
        name: key of MODELS.
        model: the module, in evaluation mode.
        context: encoder, regions, prompts, recipe, scores: whatever was saved beside it.
    """

    name: str
    model: Any
    context: dict[str, Any]


def save(folder: Path, name: str, model: torch.nn.Module, context: dict[str, Any]) -> None:
    """Write model.safetensors, then config.json, atomically each."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    write_tensors(tensors, folder / "model.safetensors")
    config = dataclasses.asdict(model.config)  # type: ignore[call-overload]
    write_json({"model": name, "config": config, "context": context}, folder / "config.json")


def load(folder: Path, *, train: str = "dvc repro") -> SavedModel:
    """The inverse of `save`.

    Args:
        folder: that holds it.
        train: what trains a model of the kind that is needed, for the line that says that there is
            none.

    Raises:
        UserError: for a folder without a model, or files that do not fit together.
    """
    path, weights = folder / "config.json", folder / "model.safetensors"
    for file in (path, weights):
        if not file.exists():
            raise UserError(f"{file}: no such file; {advice(folder, train)}")
    wrong = f"{folder}: not a model of this version of captionseg"
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        config_class, module_class = MODELS[saved["model"]]
        if not isinstance(saved["config"], dict):
            raise TypeError(f"config: expected a mapping, found {saved['config']!r}")
        model = module_class(build(config_class, saved["config"], "config"))
        if not isinstance(saved["context"], dict):
            raise TypeError(f"context: expected a mapping, found {saved['context']!r}")
    except KeyError as error:
        raise UserError(f"{wrong}: config.json: no {one_line(error)}") from None
    except Exception as error:  # whatever a config may make of modules
        raise UserError(f"{wrong}: {one_line(error) or type(error).__name__}") from None
    try:
        tensors = load_file(weights)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{wrong}: {weights.name}: {one_line(error)}") from None
    load_into(model, tensors, weights, f"a {saved['model']} of its config.json")
    return SavedModel(saved["model"], model.eval(), saved["context"])


def advice(folder: Path, train: str) -> str:
    """What to do where a folder holds no model."""
    if seeds := sorted(folder.glob("seeds/*/model.safetensors")):
        return f"name the folder of a seed, such as {seeds[0].parent}"
    return f"train a model first (`{train}`) or name its folder"
