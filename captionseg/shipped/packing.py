"""Packs the best model of a finished run into the package.

The best is the recipe with the highest mIoU on the tune split, mean over seeds, as for the champion
in MLflow; its files are those of the best seed there.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import yaml

from captionseg.modeling.weights.saved import CONCEPTS
from captionseg.records import UserError
from captionseg.shipped import FOLDER, RECORD
from captionseg.shipped.card import render
from captionseg.storage.reading import read_json
from captionseg.storage.writing import atomic_path, write_json

FILES = (
    "model.safetensors",
    "config.json",
    CONCEPTS,
    "encoder/encoder.json",
    "encoder/reduction.safetensors",
)
"""All that segmenting needs of models/RECIPE. The encoder's own weights are packages."""
TRAINING = ("seeds", "epochs", "batch", "learning_rate", "weight_decay", "texts")


def main() -> None:
    """Pack the best model of the run in the current folder, and print where it lies."""
    parser = argparse.ArgumentParser(prog="python -m captionseg.shipped", description=main.__doc__)
    parser.add_argument("--root", type=Path, default=Path(), help="folder of a finished run")
    parser.add_argument("--to", type=Path, default=FOLDER, help="where to (default: the package)")
    arguments = parser.parse_args()
    print(pack(arguments.root, arguments.to))


def pack(root: Path, target: Path) -> Path:
    """Write the best model of a run, its record and its card; any other in `target` goes.

    Args:
        root: folder of a finished run, with params.yaml, reports and models.
        target: folder for the folder of the model.

    Returns:
        the folder of the model.

    Raises:
        UserError: if the run has not ended, or has no scores.
    """
    record = describe(root)
    home = root / "models" / record["recipe"]
    record = {**record, "seed": read_json(home / "config.json")["context"]["seed"]}
    with atomic_path(target / record["recipe"]) as folder:
        for name in FILES:
            if not (home / name).is_file():
                raise UserError(f"{home / name}: no such file; let the run end (`dvc repro`)")
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(home / name, folder / name)
        write_json(record, folder / RECORD)
        (folder / "README.md").write_text(render(folder), encoding="utf-8")
    for other in sorted(target.glob(f"*/{RECORD}")):
        if other.parent.name != record["recipe"]:
            shutil.rmtree(other.parent)
    return target / record["recipe"]


def describe(root: Path) -> dict[str, Any]:
    """Return what the best model of a run was made of, and its scores, from what git holds.

    Args:
        root: folder with params.yaml and reports/metrics.json.

    Returns:
        recipe, params (name -> value, as in params.yaml), scores (those of reports/metrics.json).

    Raises:
        UserError: without scores on the tune split.
    """
    scores = read_json(root / "reports" / "metrics.json")["recipes"]
    tuned = {name: one["train"]["tune_miou"] for name, one in scores.items() if has_scores(one)}
    if not tuned:
        raise UserError(f"{root}/reports/metrics.json: no recipe has a score on the tune split")
    recipe = max(tuned, key=lambda name: tuned[name])
    params = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    return {
        "recipe": recipe,
        "params": choose_params(params, params["recipes"][recipe]),
        "scores": scores[recipe],
    }


def has_scores(metrics: dict[str, Any]) -> bool:
    """Return whether the numbers of a recipe have one of the tune split."""
    return "tune_miou" in metrics.get("train", {})


def choose_params(params: dict[str, Any], recipe: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that a model depends on most: data, encoder, rule and training."""
    source, rule = params["download"]["source"], recipe["curation"]
    model, training = recipe.get("model", "segment_mil"), params["pretrain"]
    return {
        "seed": params["seed"],
        "recipe": recipe,
        "download.source": source,
        f"download.{source}": params["download"].get(source, {}),
        "index.encoder": params["index"]["encoder"],
        "regions.maker": params["regions"]["maker"],
        f"curate.{rule}": params["curate"].get(rule, {}),
        **{f"pretrain.{name}": training[name] for name in TRAINING if name in training},
        f"pretrain.{model}": training.get(model, {}),
    }
