"""Which trained recipes learnt from a pair."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from captionseg.datasets.ids import hash_ids
from captionseg.records import one_line
from captionseg.storage.reading import explain_read_errors, read_json


def list_recipes(
    models: Path,
    params: Path,
    pair: Mapping[str, Any],
    rules: Mapping[str, Mapping[str, Any]] | None,
    ids: pa.Table | None,
) -> list[dict[str, Any]] | None:
    """List the trained recipes, and whether each learnt from the pair.

    Args:
        models: a folder for each recipe.
        params: params.yaml, which says by which rule a recipe's texts were found.
        pair: row of PAIRS.
        rules: what each rule made of it; None before curation.
        ids: of the index, schema IDS; None where there is none.

    Returns:
        name, model, seeds, trained (None: cannot be told) and why; None where nothing was trained.
    """
    files = sorted(models.glob("*/config.json"))
    if not files:
        return None
    recipes, ids_hash = read_recipes(params), None if ids is None else hash_ids(ids.to_batches())
    rows = []
    for file in files:
        config = read_json(file)
        context = config.get("context") or {}
        name = str(context.get("recipe") or file.parent.name)
        fits = {
            int(path.parent.name): read_json(path)
            for path in file.parent.glob("seeds/*/fit.json")
            if path.parent.name.isdecimal()
        }
        recipe = recipes.get(name) or {}
        trained, why = judge_training(pair, rules, recipe, fits, is_same_data(context, ids_hash))
        rows.append(
            {
                "recipe": name,
                "model": config.get("model"),
                "curation": recipe.get("curation"),
                "seeds": sorted(fits),
                "trained": trained,
                "why": why,
            }
        )
    return rows


def read_recipes(params: Path) -> dict[str, Any]:
    """Section `recipes` of a params.yaml; empty if there is no such file."""
    if not params.exists():
        return {}
    with explain_read_errors(params, "mend it"):
        try:
            raw = yaml.safe_load(params.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise ValueError(one_line(error)) from None
        recipes = raw.get("recipes") or {}
        return {name: recipe for name, recipe in recipes.items() if isinstance(recipe, dict)}


def is_same_data(context: Mapping[str, Any], ids_hash: str | None) -> bool | None:
    """Whether a model was trained on the pairs of this index; None if that is unknown."""
    trained_on = (context.get("data") or {}).get("ids")
    return None if trained_on is None or ids_hash is None else trained_on == ids_hash


def judge_training(
    pair: Mapping[str, Any],
    rules: Mapping[str, Mapping[str, Any]] | None,
    recipe: Mapping[str, Any],
    fits: Mapping[int, Mapping[str, Any]],
    same: bool | None,
) -> tuple[bool | None, str]:
    """Whether a recipe learnt from a pair, None if that is unknown; and why.

    Args:
        pair: row of PAIRS.
        rules: what each rule made of it.
        recipe: of params.yaml; empty where it does not have it.
        fits: seed -> its fit.json; without `loss` where the model has nothing to learn.
        same: see `is_same_data`.
    """
    if pair["status"] != "success":
        return False, "no picture came of the row"
    if pair["split"] != "train":
        return False, f"of the {pair['split']} split"
    if same is False:
        return None, "trained on other pairs than those of data/index: run `dvc repro`"
    if fits and not any("loss" in fit for fit in fits.values()):
        return False, "this model learns nothing from pairs"
    rule = recipe.get("curation")
    if rule is None:
        return None, "params.yaml has no such recipe, so its rule is not known"
    row = (rules or {}).get(rule)
    if row is None:
        return None, f"rule {rule} left nothing of the pair: run `dvc repro curate`"
    if not row["kept"]:
        return False, f"dropped by {rule}: {row['drop_reason']}"
    return True, f"kept by {rule}"
