"""The recipes of a reproduction as runs of their own, so that the UI puts them side by side.

Stages that did not run again leave no run in a reproduction, its recipes always do: they are made of the files that the
stage `report` read, with equal names for equal things.
"""

from __future__ import annotations

import csv
import hashlib
import re
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from captionseg.tracking import flatten, models
from captionseg.tracking.registry import Entry

if TYPE_CHECKING:
    from captionseg.tracking.store import Store

POINTS = 1000  # of a curve; more are not seen


@dataclass(frozen=True)
class Said:
    """What `report` says of the recipes, as `Tracker.recipes` takes it.

    Attributes:
        numbers: metrics.json.
        labels: recipe -> what it is filtered and grouped by.
        benchmark: whose scores count.
        models, areas, pairs, pictures: folders.
    """

    numbers: Mapping[str, Any]
    labels: Mapping[str, Mapping[str, str]]
    benchmark: str
    models: str
    areas: str
    pairs: str
    pictures: str

    @property
    def passed(self) -> bool:
        """Whether the gate holds."""
        return bool(self.numbers.get("gate", {}).get("passed"))


def record(store: Store, parent: str, said: Said, *, params: Mapping[str, Any],
           tags: Mapping[str, str]) -> list[Entry]:  # fmt: skip
    """A run for each recipe with its data, params, scores, curves, pictures and model; again is the same runs.

    Args:
        store: where they are written.
        parent: run of the reproduction.
        said: by the stage `report`.
        params: the whole of params.yaml, dotted.
        tags: of all runs below that of the reproduction.

    Returns:
        those that have a model.
    """
    names = [name for name in said.labels if name in said.numbers.get("recipes", {})]
    store.client.set_tag(parent, "recipes", ", ".join(names))
    there = {run.data.tags.get("recipe"): run.info.run_id for run in store.children(parent) if
             run.data.tags.get("role") == "recipe"}  # fmt: skip
    entries, inputs = [], store.client.get_run(parent).inputs
    for name in names:
        about = str(params.get(f"recipes.{name}.about", ""))
        mine = {**tags, **said.labels[name], "role": "recipe", "mlflow.note.content": about}
        run = there.get(name) or store.create(mine, name)
        entry = _entry(store, run, said, name)
        store.client.log_inputs(run, inputs.dataset_inputs if inputs else [])
        store.write_params(run, settings(params, name, said.labels[name]["model"]))
        _metrics(store, run, said, name, entry)
        _pictures(store, run, Path(said.pictures), name)
        store.client.set_terminated(run, "FINISHED")
        entries += [entry] if entry else []
    return entries


def settings(params: Mapping[str, Any], name: str, model: str) -> dict[str, Any]:
    """What a recipe was trained with: its row of params.yaml over what `pretrain` says of all and of its model."""
    own = {key.removeprefix(f"recipes.{name}."): v for key, v in params.items() if key.startswith(f"recipes.{name}.")}
    own = {**own, "model": model}
    own.pop("about", None)
    rest = {key.removeprefix("pretrain."): value for key, value in params.items() if key.startswith("pretrain.")}
    training = {f"training.{key}": value for key, value in rest.items() if "." not in key}
    fields = {f"settings.{key.removeprefix(f'{model}.')}": v for key, v in rest.items() if key.startswith(f"{model}.")}
    return {**training, **({} if own.get("preset") else fields), **own}


def scores(numbers: Mapping[str, Any], name: str, benchmark: str) -> dict[str, float]:
    """The numbers of a recipe: of training and of the benchmark that counts plain, of others under their names."""
    found = dict(numbers["recipes"][name])
    plain = {**found.pop("train", {}), **found.pop(benchmark, {})}
    return {key: float(value) for key, value in flatten({**plain, **found}).items()}


def data_digest(areas: Path, pairs: Path) -> str:
    """md5 of what a recipe was scored on: the pictures, and the true area of each class in each of them.

    Training pictures are no part of it, so that models which learnt from others stay comparable.

    Args:
        areas: areas/RECIPE.parquet.
        pairs: folder of the pairs.
    """
    rows = pq.read_table(areas, columns=["uid", "seed", "class", "true"])
    rows = rows.filter(pc.field("true") > 0).select(["uid", "class", "true"]).to_pylist()
    uids = {row["uid"] for row in rows}
    scored = pc.field("uid").isin(sorted(uids))  # while it is read: there may be a million times as many others
    images = pq.read_table(sorted(pairs.glob("*.parquet")), columns=["uid", "sha256"], filters=scored).to_pylist()
    lines = {f"{row['uid']} {row['sha256']}" for row in images}
    lines |= {f"{row['uid']} {row['class']} {row['true']}" for row in rows}  # the same for every seed
    return hashlib.md5("\n".join(sorted(lines)).encode()).hexdigest()


def curves(model: Path) -> dict[str, list[tuple[int, float]]]:
    """name -> (step, mean over the seeds) of the curves in models/RECIPE/seeds, thinned to what can be seen."""
    points: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for file in sorted(model.glob("seeds/*/curve.csv")):
        with file.open(newline="") as stream:
            for row in csv.DictReader(stream):
                points[row["name"]][int(row["step"])].append(float(row["value"]))
    means = {name: [(step, sum(v) / len(v)) for step, v in sorted(steps.items())] for name, steps in points.items()}
    return {name: rows[:: 1 + len(rows) // POINTS] for name, rows in means.items()}


def _entry(store: Store, run: str, said: Said, name: str) -> Entry | None:
    """Its model, logged unless the very files were logged before, and what the registry asks of it."""
    folder, areas = Path(said.models) / name, Path(said.areas) / f"{name}.parquet"
    if not folder.is_dir():
        return None
    md5 = models.digest(folder)
    model = models.find(store.client, store.experiment, md5)
    if model:
        models.link(store.client, run, model)
    else:
        model = models.log_model(store.client, store.experiment, run=run, folder=folder, name=name)
    found = scores(said.numbers, name, said.benchmark)
    data = data_digest(areas, Path(said.pairs)) if areas.exists() else ""
    return Entry(name, run, model.model_id, model.artifact_location, md5, said.benchmark, data, found.get("miou"),
                 found.get("tune_miou"))  # fmt: skip


def _metrics(store: Store, run: str, said: Said, name: str, entry: Entry | None) -> None:
    now = time.time_ns() // 1_000_000
    drawn = [(f"curve.{curve}", value, now, step) for curve, rows in curves(Path(said.models) / name).items()
             for step, value in rows]  # fmt: skip
    store.write_metrics(run, drawn)
    found = [(key, value, now, 0) for key, value in scores(said.numbers, name, said.benchmark).items()]
    store.write_metrics(run, found, model=entry.model if entry else None)


def _pictures(store: Store, run: str, folder: Path, name: str) -> None:
    """scene_1_RECIPE.jpg as pictures/scene_1.jpg: the UI compares artifacts of equal names."""
    pattern = re.compile(rf"([a-z]+_\d+)_{re.escape(name)}(\.\w+)")
    found = {path: match for path in folder.glob("*") if (match := pattern.fullmatch(path.name))}
    with tempfile.TemporaryDirectory() as work:
        for path, match in found.items():
            shutil.copyfile(path, Path(work) / "".join(match.groups()))
        if found:
            store.client.log_artifacts(run, work, "pictures")
