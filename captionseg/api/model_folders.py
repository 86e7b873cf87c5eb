"""Finds the folder of a model: a path, an address of MLflow, or the best model there is."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

from captionseg import shipped
from captionseg.records import UserError, one_line

MODELS = Path("models")
ADDRESS = re.compile(r"(models|runs|mlflow-artifacts):/")
"""Beginning of MLflow's addresses of models."""


def find_folder(source: str | Path | None = None) -> Path:
    """Return the folder of a model.

    Args:
        source: a folder, an address of MLflow such as models:/captionseg@champion, or None for the
            best model there is.

    Raises:
        UserError: without any model, or for an address that MLflow cannot resolve.
    """
    if source is None:
        if (found := find_model()) is None:
            raise UserError(
                f"no model: {MODELS} has none, and none came with this installation; train one "
                "(`dvc repro`) or name the folder of one"
            )
        return found
    if not ADDRESS.match(str(source)):
        return Path(source)
    try:
        from captionseg.tracking.model_files import download

        return download(str(source))
    except ModuleNotFoundError:
        raise UserError(
            f"{source}: needs MLflow; install captionseg[pipeline], or give a folder"
        ) from None


def find_model(models: Path | str = MODELS) -> Path | None:
    """Return the folder of the best model: the best of one's own run, or else the one that came
    with the package.

    Of one's own, it is the recipe with the highest mIoU on the tune split, mean over seeds, as for
    the champion in MLflow. Without masks of that split no recipe has one; then it is the first by
    name.

    Args:
        models: folder that holds a folder for each recipe.

    Returns:
        the folder; None without any model.
    """
    if folders := list_own(Path(models)):
        return max(folders, key=measure_recipe)  # of equal ones the first
    return shipped.path()


def list_own(models: Path) -> list[Path]:
    """List the folders of our models below a folder, by name. Those of other libraries, which also
    write config.json and model.safetensors, are passed over.
    """
    folders = [file.parent for file in sorted(models.glob("*/model.safetensors"))]
    return [folder for folder in folders if not _is_foreign(folder)]


def _is_foreign(folder: Path) -> bool:
    """Whether config.json can be read, and is that of a model that is never ours to load."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # said when the model is loaded
        return False
    if not isinstance(config, dict) or "context" in config:
        return False
    return config.get("model_type") != "groupvit"  # of transformers, which is loaded as it is


def measure_recipe(folder: Path) -> float:
    """Return the mean mIoU of a recipe's seeds on the tune split, -inf if it is unknown."""
    scores = []
    for file in folder.glob("seeds/*/fit.json"):
        try:
            scores.append(float(json.loads(file.read_text(encoding="utf-8"))["tune_miou"]))
        except (OSError, KeyError):
            continue
        except (ValueError, TypeError) as error:
            raise UserError(f"{file}: cannot be read ({one_line(error)}); name a model") from None
    known = [score for score in scores if math.isfinite(score)]
    return sum(known) / len(known) if known else -math.inf
