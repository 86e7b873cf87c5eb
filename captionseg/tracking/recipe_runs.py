"""Records the recipes of a reproduction as separate runs, so that the UI shows them side by side.

Stages that did not run have no run in a reproduction, but recipes always have one: it is made from
files, with consistent names. They are not nested below the reproduction's run, only tagged with it:
nested runs would be one collapsed row, whatever the filter.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from captionseg.storage.nested import flatten
from captionseg.tracking import logged_models
from captionseg.tracking.registry import Entry
from captionseg.tracking.reproduction import KEY, PARENT, WITHIN
from captionseg.tracking.values import clean

if TYPE_CHECKING:
    from captionseg.tracking.store import Store

POINTS = 1000  # points of a curve; more are not visible
DECIMALS = 4  # decimals of numbers in metrics.json


@dataclass(frozen=True)
class RecipeReport:
    """Scores, labels and folders of a run's recipes, from stage `report` or `evaluate`.

    Attributes:
        numbers: metrics.json; from `evaluate` only the scores of its recipe.
        labels: recipe -> its labels, see `list_labels`.
        benchmark: the benchmark whose scores count.
        models, areas, pairs, pictures: folders; `areas` may be the file of the only recipe.
    """

    numbers: Mapping[str, Any]
    labels: Mapping[str, Mapping[str, str]]
    benchmark: str
    models: str
    areas: str
    pairs: str
    pictures: str = ""

    @property
    def passes_gate(self) -> bool:
        """Whether the gate passed."""
        return bool(self.numbers.get("gate", {}).get("passed"))

    @property
    def is_whole(self) -> bool:
        """Whether this covers the whole reproduction, including the gate."""
        return "gate" in self.numbers


def record(
    store: Store,
    parent: str,
    report: RecipeReport,
    *,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
) -> list[Entry]:
    """Record a run per recipe with its data, params, scores, curves, pictures and model; repeating
    it reuses the runs.

    Args:
        store: the store.
        parent: id of the reproduction's run.
        report: results of the recipes.
        params: the whole of params.yaml, with dotted names.
        tags: tags of all runs of the reproduction.

    Returns:
        the recipes that have a model.
    """
    names = [name for name in report.labels if name in report.numbers.get("recipes", {})]
    tags = {key: value for key, value in tags.items() if key != PARENT}
    existing = {run.data.tags.get("recipe", ""): run for run in store.recipes(tags[KEY])}
    store.client.set_tag(parent, "recipes", ", ".join(dict.fromkeys([*names, *existing])))
    where = f"tags.{KEY} = '{tags[KEY]}' and tags.role = 'recipe'"
    store.client.set_tag(parent, "mlflow.note.content", f"Its recipes: `{where}`")
    entries, inputs = [], store.client.get_run(parent).inputs
    for name in names:
        chosen = list_settings(params, name, report.labels[name]["model"])
        old = existing.get(name)
        if old and store.agrees(old, chosen):
            run = old.info.run_id
        else:
            about = str(params.get(f"about.{name}", ""))
            own = {"role": "recipe", WITHIN: parent, "mlflow.note.content": about}
            run = store.create({**tags, **report.labels[name], **own}, name)
        entry = _entry(store, run, report, name)
        store.client.log_inputs(run, inputs.dataset_inputs if inputs else [])
        store.write_params(run, chosen)
        _metrics(store, run, report, name, entry)
        if report.pictures:
            _pictures(store, run, Path(report.pictures), name)
        store.client.set_terminated(run, "FINISHED")
        entries += [entry] if entry else []
    return entries


def hash_state(report: RecipeReport, params: Mapping[str, Any], models: Mapping[str, str]) -> str:
    """Hash everything that `record` and the registry show of a reproduction, as md5.

    Args:
        report: results of all its recipes.
        params: the whole of params.yaml, with dotted names.
        models: recipe -> md5 of models/RECIPE; empty or missing without a model.
    """
    rows = {
        name: [
            labels,
            list_settings(params, name, labels["model"]),
            params.get(f"about.{name}", ""),
            models.get(name, ""),
        ]
        for name, labels in report.labels.items()
    }
    text = json.dumps([report.numbers, rows], sort_keys=True, default=str)
    return hashlib.md5(text.encode()).hexdigest()


def list_settings(params: Mapping[str, Any], name: str, model: str) -> dict[str, Any]:
    """Return the settings of a recipe: section `pretrain`, for all models and for its own,
    overridden by the recipe's row in params.yaml.
    """
    own = {
        key.removeprefix(f"recipes.{name}."): v
        for key, v in params.items()
        if key.startswith(f"recipes.{name}.")
    }
    own = {**own, "model": model}
    rest = {
        key.removeprefix("pretrain."): value
        for key, value in params.items()
        if key.startswith("pretrain.")
    }
    training = {f"training.{key}": value for key, value in rest.items() if "." not in key}
    fields = {
        f"settings.{key.removeprefix(f'{model}.')}": v
        for key, v in rest.items()
        if key.startswith(f"{model}.")
    }
    return {**training, **({} if own.get("preset") else fields), **own}


def select_scores(numbers: Mapping[str, Any], name: str, benchmark: str) -> dict[str, float]:
    """Return the numbers of a recipe: of training and of its main benchmark without a prefix, of
    other benchmarks under their names.
    """
    scores = dict(numbers["recipes"][name])
    plain = {**scores.pop("train", {}), **scores.pop(benchmark, {})}
    return {key: float(value) for key, value in flatten({**plain, **scores}).items()}


def average_fits(report: RecipeReport, name: str) -> dict[str, float]:
    """Return means over the seeds from models/RECIPE, if metrics.json does not have them."""
    files = sorted(Path(report.models, name).glob("seeds/*/fit.json"))
    if "train" in report.numbers["recipes"][name] or not files:
        return {}
    fits = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return {
        key: round(sum(fit[key] for fit in fits) / len(fits), DECIMALS)
        for key in ("loss", "tune_miou")
        if all(key in fit for fit in fits)
    }


def hash_data(areas: Path, pairs: Path) -> str:
    """Hash the data that a recipe was scored on, as md5: the pictures, and the true area of each
    class in each of them.

    Training pictures are not included, so that models trained on other pictures stay comparable.

    Args:
        areas: areas/RECIPE.parquet.
        pairs: folder of the pairs.
    """
    rows = pq.read_table(areas, columns=["uid", "seed", "class", "true"])
    rows = rows.filter(pc.field("true") > 0).select(["uid", "class", "true"]).to_pylist()
    uids = {row["uid"] for row in rows}
    # filtered while reading: there may be far more other rows. Typed, as without masks it is empty
    scored = pc.field("uid").isin(pa.array(sorted(uids), pa.string()))
    images = pq.read_table(
        sorted(pairs.glob("*.parquet")), columns=["uid", "sha256"], filters=scored
    ).to_pylist()
    lines = {f"{row['uid']} {row['sha256']}" for row in images}
    # equal for all seeds
    lines |= {f"{row['uid']} {row['class']} {row['true']}" for row in rows}
    return hashlib.md5("\n".join(sorted(lines)).encode()).hexdigest()


def read_curves(model: Path) -> dict[str, list[tuple[int, float]]]:
    """Return name -> (step, mean over the seeds) of the curves in models/RECIPE/seeds, thinned."""
    points: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for file in sorted(model.glob("seeds/*/curve.csv")):
        with file.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                points[row["name"]][int(row["step"])].append(float(row["value"]))
    means = {
        name: [(step, sum(v) / len(v)) for step, v in sorted(steps.items())]
        for name, steps in points.items()
    }
    return {name: rows[:: 1 + len(rows) // POINTS] for name, rows in means.items()}


def _entry(store: Store, run: str, report: RecipeReport, name: str) -> Entry | None:
    """Its model, logged unless the very files were logged before, and what the registry
    asks of it.
    """
    folder, areas = Path(report.models) / name, Path(report.areas)
    areas = areas / f"{name}.parquet" if areas.is_dir() else areas
    if not folder.is_dir():
        return None
    md5 = logged_models.hash_folder(folder)
    model = logged_models.find(store.client, store.experiment, md5)
    if model:
        logged_models.link(store.client, run, model)
    else:
        model = logged_models.log_model(
            store.client, store.experiment, run=run, folder=folder, name=name
        )
    scores = select_scores(report.numbers, name, report.benchmark)
    data = hash_data(areas, Path(report.pairs)) if areas.exists() else ""
    return Entry(
        name,
        run,
        model.model_id,
        model.artifact_location,
        md5,
        report.benchmark,
        data,
        scores.get("miou"),
        scores.get("tune_miou"),
    )


def _metrics(store: Store, run: str, report: RecipeReport, name: str, entry: Entry | None) -> None:
    """Write the metrics that the run does not have yet; several stages record the same recipe."""
    now, known = time.time_ns() // 1_000_000, store.client.get_run(run).data.metrics
    of_model = set(known)
    if entry:
        of_model = {m.key for m in store.client.get_logged_model(entry.model).metrics or ()}
    for curve, rows in read_curves(Path(report.models) / name).items():
        if known.get(clean(f"curve.{curve}")) != rows[-1][1]:
            store.write_metrics(run, [(f"curve.{curve}", value, now, step) for step, value in rows])
    scores = select_scores(report.numbers, name, report.benchmark) | average_fits(report, name)
    store.write_metrics(
        run,
        [
            (key, value, now, 0)
            for key, value in scores.items()
            if known.get(clean(key)) != value or clean(key) not in of_model
        ],
        model=entry.model if entry else None,
    )


def _pictures(store: Store, run: str, folder: Path, name: str) -> None:
    """Log scene_1_RECIPE.jpg as pictures/scene_1.jpg: the UI compares artifacts of equal names."""
    pattern = re.compile(rf"([a-z]+_\d+)_{re.escape(name)}(\.\w+)")
    matches = {path: match for path in folder.glob("*") if (match := pattern.fullmatch(path.name))}
    with tempfile.TemporaryDirectory() as work:
        for path, match in matches.items():
            shutil.copyfile(path, Path(work) / "".join(match.groups()))
        if matches:
            store.client.log_artifacts(run, work, "pictures")
