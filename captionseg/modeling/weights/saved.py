"""Saves and loads models: model.safetensors and config.json, which cannot run code."""

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
"""File of a saved model with the concepts that its training texts named."""


@dataclass(frozen=True)
class SavedModel:
    """A saved model with its context.

    Attributes:
        name: key of MODELS.
        model: the module, in evaluation mode.
        context: everything else that was saved, such as regions, prompts and recipe.
    """

    name: str
    model: Any
    context: dict[str, Any]


def save(folder: Path, name: str, model: torch.nn.Module, context: dict[str, Any]) -> None:
    """Write model.safetensors, then config.json, each atomically.

    Args:
        folder: folder of the model.
        name: key of MODELS.
        model: the model, with a dataclass `config`.
        context: what is needed to use it, as plain values.
    """
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    write_tensors(tensors, folder / "model.safetensors")
    config = dataclasses.asdict(model.config)  # type: ignore[call-overload]
    write_json({"model": name, "config": config, "context": context}, folder / "config.json")


def load(folder: Path, *, train: str = "dvc repro") -> SavedModel:
    """Load a model that `save` wrote.

    Args:
        folder: its folder.
        train: command that trains such a model, for the error message.

    Raises:
        UserError: for a folder without a model, or files that do not fit together.
    """
    path, weights = folder / "config.json", folder / "model.safetensors"
    for file in (path, weights):
        if not file.exists():
            raise UserError(f"{file}: no such file; {advise(folder, train)}")
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
    except Exception as error:  # an invalid config can raise anything
        raise UserError(f"{wrong}: {one_line(error) or type(error).__name__}") from None
    try:
        tensors = load_file(weights)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{wrong}: {weights.name}: {one_line(error)}") from None
    load_into(model, tensors, weights, f"a {saved['model']} of its config.json")
    return SavedModel(saved["model"], model.eval(), saved["context"])


def advise(folder: Path, train: str) -> str:
    """Return the advice for a folder without a model, for an error message."""
    if seeds := sorted(folder.glob("seeds/*/model.safetensors")):
        return f"name the folder of a seed, such as {seeds[0].parent}"
    return f"train a model first (`{train}`) or name its folder"
