"""What an experiment found, kept beside the committed run: a small folder of text files that
outlives the workspace.

`dvc exp run` leaves an experiment in the workspace, and the next run of the committed params writes
over it.
"""

from __future__ import annotations

import csv
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
"""Of curves.csv, about so many a seed."""

DESCRIBED = {"curation": "", "archive": "", "model": "segment_mil", "settings": {}}
"""What experiment.json says of a recipe, and what it is where params.yaml leaves it out."""


@dataclass(frozen=True)
class Workspace:
    """What the last run left.

    Attributes:
        params: params.yaml, as it is read from YAML.
        lock: dvc.lock likewise: with which params each stage ran; empty where DVC did not run it.
        reports: the folder of reports.
    """

    params: Mapping[str, Any]
    lock: Mapping[str, Any]
    reports: Path


def select_recipes(
    recipes: Iterable[str], committed: Iterable[str], named: Sequence[str]
) -> list[str]:
    """The recipes that an experiment is about: those that are named, in that order, then those not
    committed yet.

    Raises:
        UserError: for a name that is no recipe, or if nothing is left.
    """
    recipes, committed = list(recipes), set(committed)
    if unknown := [name for name in named if name not in recipes]:
        raise UserError(
            f"recipes.{unknown[0]}: no such recipe in params.yaml (valid: {', '.join(recipes)})"
        )
    found = list(dict.fromkeys([*named, *(name for name in recipes if name not in committed)]))
    if not found:
        raise UserError(
            "every recipe of params.yaml is committed, so it holds no experiment; name some by "
            "--recipes"
        )
    return found


def archive_experiment(
    space: Workspace, name: str, about: str, recipes: Sequence[str], *, folder: Path
) -> dict[str, Any]:
    """Copy the experiment into `folder`/`name`, over what is there; the same bytes for the same
    workspace.

    Writes experiment.json, metrics.json (of these recipes, of data, curation and segments),
    recipes/RECIPE.json and curves.csv, at most about ROWS rows a seed.

    Args:
        space: the workspace.
        name: of the experiment, a word.
        about: what it is to show.
        recipes: of `subjects`.
        folder: of all experiments.

    Returns:
        what metrics.json holds.

    Raises:
        UserError: if the reports are not those of the params.
    """
    if not re.fullmatch(r"[\w-]+", name):
        raise UserError(f"{name!r} is no name for an experiment; take letters, digits, - and _")
    check_up_to_date(space)
    metrics = _json(space.reports / "metrics.json")
    for recipe in recipes:
        if (
            recipe not in metrics["recipes"]
            or not (space.reports / "recipes" / f"{recipe}.json").exists()
        ):
            raise UserError(
                f"recipe {recipe} has no score in {space.reports}: the reports are older than "
                "params.yaml; run `dvc exp run` first"
            )
    described = {
        recipe: {
            key: space.params["recipes"][recipe].get(key, other) for key, other in DESCRIBED.items()
        }
        | {"about": (space.params.get("about") or {}).get(recipe, "")}
        for recipe in recipes
    }
    found = {
        "recipes": {recipe: metrics["recipes"][recipe] for recipe in recipes},
        **{key: metrics[key] for key in ("data", "curation", "segments") if key in metrics},
    }
    with atomic_path(folder / name) as part:
        write_json({"name": name, "about": about, "recipes": described}, part / "experiment.json")
        write_json(found, part / "metrics.json")
        for recipe in recipes:
            write_json(
                _json(space.reports / "recipes" / f"{recipe}.json"),
                part / "recipes" / f"{recipe}.json",
            )
        write_csv(
            part / "curves.csv", *read_curves(space.reports / "plots" / "curves.csv", recipes)
        )
    return found


def check_up_to_date(space: Workspace) -> None:
    """Do the stages' params, as DVC wrote them down, agree with params.yaml?

    Raises:
        UserError: naming the first that does not.
    """
    for source, path, stage in find_outdated_reads(space.lock, space.params["recipes"]):
        raise UserError(
            f"{path}: stage {source} wrote it anew after stage {stage} read it: the reports are "
            "older; run `dvc exp run` to its end first"
        )
    for stage, entry in space.lock.get("stages", {}).items():
        member = stage.partition("@")[2]
        if member and member not in space.params["recipes"]:
            continue  # a recipe that was there once
        for key, value in entry.get("params", {}).get("params.yaml", {}).items():
            if _at(space.params, key) != value:
                raise UserError(
                    f"{key} of params.yaml is not what stage {stage} ran with: the reports are "
                    "older; run `dvc exp run` first"
                )


def _at(params: Any, key: str) -> Any:
    for word in key.split("."):
        params = params.get(word) if isinstance(params, Mapping) else None
    return params


def read_curves(path: Path, recipes: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of plots/curves.csv, of some recipes and thinned; without the file or rows,
    none.

    Every row that has a score of the tune split stays while these are fewer than ROWS.
    """
    if not path.exists():
        return ["recipe", "seed", "step", "loss", "tune_miou"], []
    with path.open(newline="") as stream:
        header, *rows = csv.reader(stream)
    of_seed: dict[tuple[str, str], list[list[str]]] = {}
    for row in rows:
        if row[0] in recipes:
            of_seed.setdefault((row[0], row[1]), []).append(row)
    return header, [row for found in of_seed.values() for row in thin(found)]


def thin(rows: Sequence[list[str]]) -> list[list[str]]:
    """At most ROWS of the rows of a seed, those with a score (the last column) first of all, the
    rest evenly spaced.
    """
    scored = [i for i, row in enumerate(rows) if row[-1]]
    others = [i for i, row in enumerate(rows) if not row[-1]]
    first = space_evenly(scored, ROWS)
    return [rows[i] for i in sorted([*first, *space_evenly(others, ROWS - len(first))])]


def space_evenly(items: Sequence[int], most: int) -> list[int]:
    """At most so many of the items, evenly spaced, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    if most < 2:
        return list(items[-most:]) if most else []
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def format_scores(metrics: Mapping[str, Any]) -> list[str]:
    """The scores of a kept experiment as a table for a terminal: recipe, benchmark, mIoU, interval,
    sd over seeds.
    """
    rows = [("recipe", "benchmark", "mIoU", "95 % interval", "sd")]
    for recipe, found in metrics["recipes"].items():
        rows += [
            (
                recipe,
                benchmark,
                f"{s['miou']:.1f}",
                f"{s['miou_low']:.1f} to {s['miou_high']:.1f}",
                f"{s['miou_std']:.2f}",
            )
            for benchmark, s in found.items()
            if "miou" in s
        ]
    width = [max(map(len, column)) for column in zip(*rows, strict=True)]
    form = "  ".join([f"{{:<{w}}}" for w in width[:2]] + [f"{{:>{w}}}" for w in width[2:]])
    return [form.format(*row) for row in rows]


def _json(path: Path) -> Any:
    return read_json(path, todo="run `dvc exp run` first")
