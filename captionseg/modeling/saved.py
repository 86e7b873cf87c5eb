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

from captionseg.modeling import MODELS
from captionseg.records import UserError
from captionseg.storage import write_json, write_tensors
from captionseg.typed import build


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


def load(folder: Path) -> SavedModel:
    """The inverse of `save`.

    Raises:
        UserError: for a folder without a model, or files that do not fit together.
    """
    try:
        saved = json.loads((folder / "config.json").read_text())
        config_class, module_class = MODELS[saved["model"]]
        if not isinstance(saved["config"], dict):
            raise TypeError(f"config: expected a mapping, found {saved['config']!r}")
        model = module_class(build(config_class, saved["config"], "config"))
        model.load_state_dict(load_file(folder / "model.safetensors"))
        return SavedModel(saved["model"], model.eval(), saved["context"])
    except (FileNotFoundError, NotADirectoryError) as error:
        missing = error.filename or folder / "model.safetensors"  # safetensors does not say which
        raise UserError(f"{missing}: no such file; train a model first (`dvc repro`) or name its folder") from None
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError, UserError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{folder}: not a model of this version of captionseg: {reason}") from None
