"""Reads the scores and curves of the default run and of kept experiments from JSON and CSV."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captionseg.gate.data import RunData
from captionseg.recipes import Recipe
from captionseg.records import UserError, one_line
from captionseg.reporting.baselines import find_baseline, find_control
from captionseg.reporting.comparison.results import DEFAULT, OWN, Curves, Difference, Result, Run
from captionseg.sources.sources import SOURCES
from captionseg.typed import build

SAME = 0.01
"""Two differences of mIoU, 0 to 100, that are closer are the same, written with other digits."""


@dataclass(frozen=True)
class Folders:
    """Input paths of the comparison; all but metrics.json may be empty."""

    metrics: Path
    recipes: Path
    plots: Path
    pictures: Path
    experiments: Path
    benchmarks: Path


def read(folders: Folders, recipes: Mapping[str, Recipe]) -> list[Run]:
    """Read the default run and every experiment, by name; results on published benchmarks belong to
    the default run.

    Raises:
        UserError: naming the file that is damaged, incomplete or missing.
    """
    default = _run(
        DEFAULT,
        "",
        recipes,
        metrics=folders.metrics,
        scores=folders.recipes,
        curves=folders.plots / "curves.csv",
    )
    default.results.extend(
        result
        for result, data in _read_benchmarks(folders.benchmarks)
        if not default.data.differs(data)
    )
    runs = [default]
    for folder in sorted(path for path in folders.experiments.glob("[!.]*/")):
        file = folder / "experiment.json"
        report = read_json(file)
        own = {
            name: build(Recipe, value, f"{file}: recipes.{name}")
            for name, value in read_mapping(report.get("recipes"), file, "recipes").items()
        }
        about = one_line(report.get("about", ""), 400)
        runs.append(
            _run(
                folder.name,
                about,
                own,
                metrics=folder / "metrics.json",
                scores=folder / "recipes",
                curves=folder / "curves.csv",
            )
        )
    return runs


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        UserError: for a file that is missing, or is not a JSON object.
    """
    try:
        return read_mapping(json.loads(file.read_text(encoding="utf-8")), file, "the file")
    except FileNotFoundError:
        raise UserError(
            f"{file}: no such file; rerun the command that writes it, or delete {file.parent}"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"{file}: not JSON ({one_line(error)}); rerun the command that writes it, or delete it"
        ) from None


def read_mapping(value: Any, file: Path, what: str) -> dict[str, Any]:
    """Return a value of a JSON file that must be an object."""
    if not isinstance(value, dict):
        raise UserError(
            f"{file}: {what} must be an object, found {one_line(repr(value), 60)}; "
            "rerun the command that writes it, or delete it"
        )
    return value


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {
        key: float(v)
        for key, v in values.items()
        if isinstance(v, int | float) and not isinstance(v, bool)
    }


def _run(
    name: str,
    about: str,
    recipes: Mapping[str, Recipe],
    *,
    metrics: Path,
    scores: Path,
    curves: Path,
) -> Run:
    """Build a run from its metrics.json, the JSON files of its recipes, and its curves."""
    numbers = read_json(metrics)
    of_recipes = read_mapping(numbers.get("recipes", {}), metrics, "recipes")
    results = []
    for recipe in [
        *(r for r in recipes if r in of_recipes),
        *(r for r in of_recipes if r not in recipes),
    ]:
        written = read_mapping(of_recipes[recipe], metrics, f"recipes.{recipe}")
        results += _results_of_recipe(name, recipe, written, metrics, scores / f"{recipe}.json")
    results = [_add_differences(result, results, recipes, of_recipes) for result in results]
    home = next((result.benchmark for result in results), "")
    return Run(
        name,
        about,
        recipes,
        results,
        read_curves(curves) if curves.exists() else {},
        home,
        pairs=read_mapping(numbers.get("data", {}), metrics, "data").get("pairs"),
        data=RunData.of(numbers, home if home in SOURCES else ""),
        trained=tuple(of_recipes),
        curation=read_mapping(numbers.get("curation", {}), metrics, "curation"),
    )


def _results_of_recipe(
    run: str, recipe: str, written: Mapping[str, Any], metrics: Path, file: Path
) -> Iterator[Result]:
    """Yield the results of a recipe on each benchmark, by each protocol.

    Args:
        run: name of the run.
        recipe: its name.
        written: BENCHMARK[@PROTOCOL] -> numbers, from `metrics`.
        metrics: metrics.json of the run.
        file: what the evaluation of the recipe wrote; may be missing.
    """
    details = read_json(file) if file.exists() else {}
    also = read_mapping(details.get("also", {}), file, "also")
    for key, values in written.items():
        if key != "train":
            benchmark, _, protocol = key.partition("@")
            numbers = read_mapping(values, metrics, f"recipes.{recipe}.{key}")
            more = (
                read_mapping(also.get(protocol, {}), file, f"also.{protocol}")
                if protocol
                else details
            )
            yield _result((run, recipe, benchmark, protocol or OWN), numbers, more, file)


def _result(
    key: tuple[str, str, str, str],
    scores: Mapping[str, Any],
    details: Mapping[str, Any],
    file: Path,
) -> Result:
    """Build a result from its scores and the details that its evaluation wrote to `file`."""
    pictures = details.get("pictures")
    per_class, seeds, protocol = (
        read_mapping(details.get(k, {}), file, k) for k in ("per_class", "seeds", "protocol")
    )
    return Result(
        *key,
        _numbers(scores),
        _numbers(per_class),
        _numbers(seeds),
        protocol,
        pictures.get("scored") if isinstance(pictures, dict) else pictures,
        one_line(details.get("title") or key[2].replace("_", " ")),
    )


def _add_differences(
    result: Result, results: list[Result], recipes: Mapping[str, Recipe], written: Mapping[str, Any]
) -> Result:
    """Add the differences to baseline and control: with intervals if metrics.json has them, else
    without.

    metrics.json does not name the other recipe, so its intervals count only where the difference
    is that of the two scores.
    """
    if result.recipe not in recipes:
        return result
    beside = {
        r.recipe: r.scores["miou"]
        for r in results
        if (r.benchmark, r.protocol) == (result.benchmark, result.protocol) and "miou" in r.scores
    }
    key = result.benchmark if result.protocol == OWN else f"{result.benchmark}@{result.protocol}"
    differences: list[Difference | None] = []
    for name, relation in (("baseline", find_baseline), ("control", find_control)):
        other = relation(recipes, result.recipe)
        paired = written[result.recipe][key].get(f"over_{name}")
        paired = _numbers(paired) if isinstance(paired, dict) else {}
        if other is None or not {other, result.recipe} <= beside.keys():
            differences.append(None)
            continue
        gain = beside[result.recipe] - beside[other]
        interval: list[float | None] = []
        if abs(paired.get("miou", math.inf) - gain) < SAME:
            gain = paired["miou"]
            interval = [paired.get(key) for key in ("low", "high", "better")]
        differences.append(Difference(other, gain, *interval))
    return Result(**{**vars(result), "baseline": differences[0], "control": differences[1]})


def _read_benchmarks(folder: Path) -> Iterator[tuple[Result, RunData]]:
    """Yield results on published benchmarks, RECIPE/BENCHMARK[@PROTOCOL].json, and the data that
    their models were trained on.
    """
    for file in sorted(folder.glob("*/*.json")):
        details = read_json(file)
        scores = read_mapping(details.get("scores"), file, "scores")
        benchmark, _, protocol = file.stem.partition("@")
        yield (
            _result((DEFAULT, file.parent.name, benchmark, protocol or OWN), scores, details, file),
            RunData.of(details),
        )


def read_curves(file: Path) -> Curves:
    """Read recipe -> seed -> (step, name, value) from a curves.csv.

    Raises:
        UserError: for an invalid row.
    """
    out: Curves = {}
    with file.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            try:
                step, loss, tuned = int(row["step"]), float(row["loss"]), row["tune_miou"].strip()
                values = [
                    (step, "loss", loss),
                    *([(step, "tune_miou", float(tuned))] if tuned else []),
                ]
                out.setdefault(row["recipe"], {}).setdefault(int(row["seed"]), []).extend(values)
            except (AttributeError, KeyError, TypeError, ValueError):
                raise UserError(
                    f"{file}: invalid row: {one_line(row)}; rerun the command that writes it, or "
                    "delete it"
                ) from None
    return out
