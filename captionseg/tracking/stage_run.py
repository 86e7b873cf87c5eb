"""The MLflow run of one stage: executes in the writer process what a stage calls on `Tracker`."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from captionseg.tracking import logged_datasets, logged_models, recipe_runs, reproduction
from captionseg.tracking.reproduction import KEY, PARENT
from captionseg.tracking.store import BATCH, OWNER, Store
from captionseg.tracking.synchronise import catch_up, show

FLUSH = 5.0  # seconds between writes of metrics
CONTEXTS = {"pretrain": "training", "evaluate": "evaluation"}  # stage -> what its inputs are for
SHARED = ("pairs", "truth")  # inputs of the whole reproduction
TAG_LENGTH = 5000


@dataclass(frozen=True)
class StageDescription:
    """What is known about a stage before it starts.

    Attributes:
        stage: its name.
        params: the whole of params.yaml, with dotted names.
        tags: tags of all runs of the reproduction.
    """

    stage: str
    params: dict[str, Any]
    tags: dict[str, str]


class StageRun:
    """The MLflow run of one stage, with the methods of `Tracker`.

    Args:
        store: the store.
        run: id of the run.
        parent: id of the reproduction's run, or None if the stage runs alone.
        about: the stage.
    """

    def __init__(
        self, store: Store, run: str, parent: str | None, *, about: StageDescription
    ) -> None:
        self.store, self.run, self.parent, self.about = store, run, parent, about
        self._points: list[tuple[str, float, int, int]] = []
        self._summaries: list[tuple[dict[str, float], list[str]]] = []
        self._recipes: recipe_runs.RecipeReport | None = None
        self._flushed = time.monotonic()

    def params(self, values: dict[str, Any]) -> None:
        """Write params immediately."""
        self.store.write_params(self.run, values)

    def tags(self, values: dict[str, str]) -> None:
        """Write tags immediately."""
        for key, value in values.items():
            self.store.client.set_tag(self.run, key, value[:TAG_LENGTH])

    def inputs(self, paths: dict[str, str]) -> None:
        """Log the inputs that dvc.lock has. Only if DVC runs the stage: otherwise the inputs may
        differ from dvc.lock.
        """
        if "DVC_STAGE" in os.environ:
            read = logged_datasets.find_inputs(self.store.root, paths.values())
            logged_datasets.write(
                self.store.client,
                self.run,
                read,
                self.store.root,
                CONTEXTS.get(self.about.stage, "input"),
            )
            if self.parent:
                shared = [one for one in read if one.path in {paths.get(name) for name in SHARED}]
                logged_datasets.write(
                    self.store.client, self.parent, shared, self.store.root, "reproduction"
                )

    def metrics(self, values: dict[str, float], step: int, timestamp: int) -> None:
        """Buffer metrics until there are enough, or the oldest has waited too long."""
        self._points += [(key, value, timestamp, step) for key, value in values.items()]
        if len(self._points) >= BATCH["metrics"] or time.monotonic() - self._flushed > FLUSH:
            self.flush()

    def flush(self) -> None:
        """Write the buffered metrics."""
        points, self._points, self._flushed = self._points, [], time.monotonic()
        self.store.write_metrics(self.run, points)

    def artifact(self, path: str, folder: str) -> None:
        """Copy a file or folder immediately."""
        self.store.write_file(self.run, Path(path), folder)

    def model(self, folder: str, name: str) -> None:
        """Log a model immediately, with the library that loads it."""
        logged_models.log_model(
            self.store.client, self.store.experiment, run=self.run, folder=Path(folder), name=name
        )

    def summary(self, values: dict[str, float], paths: list[str]) -> None:
        """Keep a summary for `finish`."""
        self._summaries.append((values, paths))

    def recipes(self, **report: Any) -> None:
        """Keep a report on recipes for `finish`."""
        self._recipes = recipe_runs.RecipeReport(**report)

    def finish(self) -> None:
        """Write what was kept: summaries on the parent run, runs of recipes, and the champion.

        Only call it after a stage succeeded and its outputs are in place; otherwise a killed run
        would show the scores of its predecessor. A stage without a parent keeps its summaries.
        """
        self.flush()
        for values, paths in self._summaries:
            self.store.write_summary(
                self.parent or self.run, values, [Path(path) for path in paths]
            )
        if not self.parent:
            return
        if self._recipes:
            with self.store.lock:
                show(
                    self.store,
                    self.parent,
                    self._recipes,
                    params=self.about.params,
                    tags=self.about.tags,
                )
        if not (self._recipes and self._recipes.is_whole) and "DVC_STAGE" in os.environ:
            catch_up(self.store, self.parent, self.about.tags)

    def close(self, status: str, error: str) -> None:
        """Set the final status of the run and update its parent's."""
        if error:
            self.store.client.set_tag(self.run, "error", error[:TAG_LENGTH])
        with self.store.lock:
            self.store.client.set_terminated(self.run, status)
            if self.parent:
                self.store.settle(self.parent)


def open_stage_run(
    store: Store,
    stage: str,
    recipe: str | None,
    params: Mapping[str, Any],
    *,
    began: int | None = None,
) -> StageRun:
    """Create a run for a stage, below the run of its reproduction, which is created if missing.

    Args:
        store: the store.
        stage: its name.
        recipe: the stage's recipe, if it has one.
        params: the whole of params.yaml, with dotted names.
        began: when the stage began, in milliseconds since 1970; None for now.
    """
    process = psutil.Process()
    owner = reproduction.find(os.environ, process.parents())
    tags = {**reproduction.collect_tags(store.root), OWNER: reproduction.identify_process(process)}
    with store.lock:
        store.reap()
        parent = None
        if owner:
            parent = store.parent(owner, tags, params, began=began)
            tags |= {PARENT: parent, KEY: owner.key}
        own = {**tags, "role": "stage", "stage": stage, "mlflow.source.name": f"stages/{stage}.py"}
        own |= {"recipe": recipe} if recipe else {}
        run = store.create(own, f"{stage}/{recipe}" if recipe else stage, began=began)
    return StageRun(store, run, parent, about=StageDescription(stage, dict(params), tags))
