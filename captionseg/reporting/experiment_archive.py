"""Keeps the results of an experiment as a small folder of text files, next to the committed run.

`dvc exp run` leaves an experiment in the workspace, where the next run overwrites it.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captionseg.gate.lock import find_outdated_reads
from captionseg.records import UserError
from captionseg.storage.reading import read_json
from captionseg.storage.writing import atomic_path, write_csv, write_json

ROWS = 50
"""Approximate number of rows of curves.csv that are kept per seed."""

DESCRIBED = {"curation": "", "archive": "", "model": "segment_mil", "settings": {}}
"""Fields of a recipe in experiment.json -> the default if params.yaml leaves them out."""


@dataclass(frozen=True)
class Workspace:
    """The results of the last run.

    Attributes:
        params: params.yaml, parsed.
        lock: dvc.lock, parsed, with the params that each stage ran with; empty if DVC did not run.
        reports: the folder of reports.
    """

    params: Mapping[str, Any]
    lock: Mapping[str, Any]
    reports: Path


def select_recipes(
    recipes: Iterable[str], committed: Iterable[str], named: Sequence[str]
) -> list[str]:
    """Return the recipes of an experiment: the named ones, in that order, then the uncommitted
    ones.

    Raises:
        UserError: for an unknown recipe, or if there are none.
    """
    recipes, committed = list(recipes), set(committed)
    if unknown := [name for name in named if name not in recipes]:
        raise UserError(
            f"recipes.{unknown[0]}: no such recipe in params.yaml (valid: {', '.join(recipes)})"
        )
    chosen = list(dict.fromkeys([*named, *(name for name in recipes if name not in committed)]))
    if not chosen:
        raise UserError(
            "params.yaml has no recipes that are not committed, so there is no experiment to keep; "
            "name recipes with --recipes"
        )
    return chosen


def archive_experiment(
    space: Workspace, name: str, about: str, recipes: Sequence[str], *, folder: Path
) -> dict[str, Any]:
    """Copy the experiment to `folder`/`name`, replacing an older copy. Equal workspaces give equal
    bytes.

    Writes experiment.json, metrics.json (these recipes, data, curation and segments),
    recipes/RECIPE.json and curves.csv with at most about ROWS rows per seed.

    Args:
        space: the workspace.
        name: name of the experiment, one word.
        about: what it shows.
        recipes: recipes to keep, see `select_recipes`.
        folder: folder of all experiments.

    Returns:
        the content of metrics.json.

    Raises:
        UserError: if the reports do not match the params.
    """
    if not re.fullmatch(r"[\w-]+", name):
        raise UserError(
            f"{name!r} is not a valid experiment name; use only letters, digits, - and _"
        )
    check_up_to_date(space)
    metrics = _json(space.reports / "metrics.json")
    check_scored(space, metrics, recipes)
    kept = {
        "recipes": {recipe: metrics["recipes"][recipe] for recipe in recipes},
        **{key: metrics[key] for key in ("data", "curation", "segments") if key in metrics},
    }
    # in the order of params.yaml, by which recipes find their baselines
    described = {
        recipe: describe_recipe(space.params, recipe)
        for recipe in space.params["recipes"]
        if recipe in recipes
    }
    said = {"name": name, "about": about, "recipes": described}
    text = json.dumps(said, indent=2, allow_nan=False)
    with atomic_path(folder / name) as part:
        part.mkdir(parents=True)
        (part / "experiment.json").write_text(f"{text}\n", encoding="utf-8")
        write_json(kept, part / "metrics.json")
        for file in (Path("recipes", f"{recipe}.json") for recipe in recipes):
            write_json(_json(space.reports / file), part / file)
        curves = read_curves(space.reports / "plots" / "curves.csv", recipes)
        write_csv(part / "curves.csv", *curves)
    return kept


def describe_recipe(params: Mapping[str, Any], recipe: str) -> dict[str, Any]:
    """Return the fields of a recipe that experiment.json keeps."""
    fields = params["recipes"][recipe]
    about = (params.get("about") or {}).get(recipe, "")
    return {**{key: fields.get(key, other) for key, other in DESCRIBED.items()}, "about": about}


def check_scored(space: Workspace, metrics: Mapping[str, Any], recipes: Sequence[str]) -> None:
    """Check that the reports have a score of every recipe.

    Raises:
        UserError: naming the first without one.
    """
    for recipe in recipes:
        file = space.reports / "recipes" / f"{recipe}.json"
        if recipe not in metrics["recipes"] or not file.exists():
            raise UserError(
                f"recipe {recipe} has no score in {space.reports}, so the reports are older than "
                "params.yaml; run `dvc exp run` first"
            )


def check_up_to_date(space: Workspace) -> None:
    """Check that the params in dvc.lock agree with params.yaml.

    Raises:
        UserError: naming the first that does not.
    """
    for source, path, stage in find_outdated_reads(space.lock, space.params["recipes"]):
        raise UserError(
            f"{path}: stage {source} rewrote it after stage {stage} read it, so the reports are "
            "outdated; let `dvc exp run` finish first"
        )
    for stage, entry in space.lock.get("stages", {}).items():
        member = stage.partition("@")[2]
        if member and member not in space.params["recipes"]:
            continue  # a recipe that was removed
        for key, value in entry.get("params", {}).get("params.yaml", {}).items():
            if _at(space.params, key) != value:
                raise UserError(
                    f"{key}: changed in params.yaml since stage {stage} ran, so the reports are "
                    "outdated; run `dvc exp run` first"
                )


def _at(params: Any, key: str) -> Any:
    for word in key.split("."):
        params = params.get(word) if isinstance(params, Mapping) else None
    return params


def read_curves(path: Path, recipes: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Read the header of plots/curves.csv and its rows for some recipes, thinned; no rows without
    the file.

    Rows with a tune score are kept first, up to ROWS.
    """
    if not path.exists():
        return ["recipe", "seed", "step", "loss", "tune_miou"], []
    with path.open(encoding="utf-8", newline="") as stream:
        header, *rows = csv.reader(stream)
    of_seed: dict[tuple[str, str], list[list[str]]] = {}
    for row in rows:
        if row[0] in recipes:
            of_seed.setdefault((row[0], row[1]), []).append(row)
    return header, [row for scores in of_seed.values() for row in thin(scores)]


def thin(rows: Sequence[list[str]]) -> list[list[str]]:
    """Return at most ROWS rows of a seed: rows with a score (the last column) first, the rest
    evenly spaced.
    """
    scored = [i for i, row in enumerate(rows) if row[-1]]
    others = [i for i, row in enumerate(rows) if not row[-1]]
    first = space_evenly(scored, ROWS)
    return [rows[i] for i in sorted([*first, *space_evenly(others, ROWS - len(first))])]


def space_evenly(items: Sequence[int], most: int) -> list[int]:
    """Return at most `most` items, evenly spaced, including the first and the last."""
    if len(items) <= most:
        return list(items)
    if most < 2:
        return list(items[-most:]) if most else []
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def format_scores(metrics: Mapping[str, Any]) -> list[str]:
    """Format the scores of a kept experiment as a table for a terminal: recipe, benchmark, mIoU,
    interval, sd over seeds.
    """
    rows = [("recipe", "benchmark", "mIoU", "95 % interval", "sd")]
    for recipe, scores in metrics["recipes"].items():
        rows += [
            (
                recipe,
                benchmark,
                f"{s['miou']:.1f}",
                f"{s['miou_low']:.1f} to {s['miou_high']:.1f}",
                f"{s['miou_std']:.2f}" if s["miou_std"] else "-",  # of one seed it is 0
            )
            for benchmark, s in scores.items()
            if "miou" in s
        ]
    width = [max(map(len, column)) for column in zip(*rows, strict=True)]
    form = "  ".join([f"{{:<{w}}}" for w in width[:2]] + [f"{{:>{w}}}" for w in width[2:]])
    return [form.format(*row) for row in rows]


def _json(path: Path) -> Any:
    return read_json(path, todo="run `dvc exp run` first")
