"""Runs in MLflow: a reproduction's, its stages' below it, and what is written to them.

Used by the writer process alone. MLflow is imported where it is used: a locked store is found out before.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from filelock import FileLock

from captionseg.tracking import inputs, models, recipes, registry, reproduction

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

EXPERIMENT = "captionseg"
PARENT, OWNER, KEY = "mlflow.parentRunId", "owner", "reproduction"
FLUSH = 5.0  # seconds that a metric may wait for others
CONTEXTS = {"pretrain": "training", "evaluate": "evaluation"}  # what a stage reads its inputs for
SHARED = ("pairs", "truth")  # inputs that are those of the whole reproduction
BATCH = {"metrics": 1000, "params": 100}  # what MLflow takes at once
KEY_LENGTH, PARAM_LENGTH, TAG_LENGTH = 250, 6000, 5000


class Store:
    """MLflow's store, one experiment of it, and a lock against the other writers of this machine.

    Args:
        root: root of the repository.
        patience: seconds to wait for a store that is locked.

    Raises:
        Exception: of MLflow, sqlite or the lock, if the store cannot be used.
    """

    def __init__(self, root: Path, patience: float) -> None:
        home, uri = reproduction.home(root), reproduction.store_uri(root)
        self.root = root
        # Whoever has it is one of us, busy for a while (the schema takes seconds), not stuck.
        self.lock = FileLock(home / "mlflow.db.lock", timeout=4 * patience)
        artifacts = (home / "mlruns").as_uri() if uri.startswith("sqlite:") else None
        if uri.startswith("sqlite:///") and "?" not in uri:
            with self.lock:
                probe(Path(uri.removeprefix("sqlite:///")), patience)
            uri = f"{uri}?timeout={patience:g}"
        from mlflow.tracking import MlflowClient

        with self.lock:  # the first writer makes the schema
            self.client: MlflowClient = MlflowClient(uri)
            found = self.client.get_experiment_by_name(EXPERIMENT)
            # The kind decides which pages of the UI come first: those of training, not of chat.
            self.experiment = found.experiment_id if found else self.client.create_experiment(
                EXPERIMENT, artifact_location=artifacts, tags={"mlflow.experimentKind": "custom_model_development"})

    def runs(self, where: str) -> list[Run]:
        """Runs that MLflow's filter finds, oldest first."""
        return list(
            self.client.search_runs([self.experiment], where, order_by=["attributes.start_time ASC"], max_results=1000)
        )

    def open(self, stage: str, recipe: str | None, params: Mapping[str, Any]) -> StageRun:
        """A new run for a stage, below the run of its reproduction, which is made if it is not there."""
        me = psutil.Process()
        found = reproduction.find(os.environ, me.parents())
        tags = {**reproduction.tags(self.root), OWNER: reproduction.identity(me)}
        with self.lock:
            self.reap()
            parent = None
            if found:
                parent = self._parent(found, tags, params)
                tags |= {PARENT: parent, KEY: found.key}
            mine = {**tags, "role": "stage", "stage": stage, "mlflow.source.name": f"stages/{stage}.py"}
            mine |= {"recipe": recipe} if recipe else {}
            run = self.create(mine, f"{stage}/{recipe}" if recipe else stage)
        return StageRun(self, run, parent, about=About(stage, dict(params), tags))

    def create(self, tags: Mapping[str, str], name: str) -> str:
        """A new run; its id."""
        return self.client.create_run(self.experiment, tags=dict(tags), run_name=name).info.run_id

    def children(self, parent: str) -> list[Run]:
        """The runs below a run, oldest first."""
        return self.runs(f"tags.`{PARENT}` = '{parent}'")

    def _parent(self, found: reproduction.Reproduction, tags: dict[str, str], params: Mapping[str, Any]) -> str:
        runs = self.runs(f"tags.{KEY} = '{found.key}' and tags.role = 'reproduction'")
        if runs:
            self.client.update_run(runs[0].info.run_id, "RUNNING")
            if "dvc.lock" in tags:
                self.client.set_tag(runs[0].info.run_id, "dvc.lock", tags["dvc.lock"])
            return runs[0].info.run_id
        tags = {**tags, KEY: found.key, "role": "reproduction", "mlflow.source.name": "dvc.yaml"}
        parent = self.create(tags, found.name)
        self.write_params(parent, params)
        return parent

    def reap(self) -> None:
        """Give runs whose process is gone the status that they can no longer give themselves."""
        parents = set()
        for run in self.runs("attributes.status = 'RUNNING'"):
            if reproduction.is_dead(run.data.tags.get(OWNER, "")):
                if run.data.tags.get("role") == "reproduction":
                    parents.add(run.info.run_id)
                else:
                    self.client.set_terminated(run.info.run_id, "KILLED")
                    parents.add(run.data.tags.get(PARENT))
        for parent in parents - {None}:
            self.settle(parent)

    def settle(self, parent: str) -> None:
        """A reproduction is what the last runs of its stages are: running, failed, killed, else finished."""
        latest = {
            (run.data.tags.get("stage"), run.data.tags.get("recipe")): run.info.status
            for run in self.children(parent)
        }
        if "RUNNING" not in latest.values():
            worst = [status for status in ("FAILED", "KILLED") if status in latest.values()]
            self.client.set_terminated(parent, worst[0] if worst else "FINISHED" if latest else "KILLED")

    def write_params(self, run: str, values: Mapping[str, Any]) -> None:
        """Params, clipped to what MLflow stores."""
        from mlflow.entities import Param

        params = [Param(clean(k), _text(v)) for k, v in values.items()]
        for batch in batches(params, BATCH["params"]):
            self.client.log_batch(run, params=batch)

    def write_metrics(
        self, run: str, points: Iterable[tuple[str, float, int, int]], *, model: str | None = None
    ) -> None:
        """Metrics: (name, value, time in ms, step) each; also of a logged model, by its id."""
        from mlflow.entities import Metric

        metrics = [Metric(clean(key), value, timestamp, step, model_id=model) for key, value, timestamp, step in points]
        for batch in batches(metrics, BATCH["metrics"]):
            self.client.log_batch(run, metrics=batch)

    def write_file(self, run: str, path: Path, folder: str = "") -> None:
        """A file, or a folder under its own name."""
        if path.is_dir():
            self.client.log_artifacts(run, str(path), "/".join(filter(None, [folder, path.name])))
        else:
            self.client.log_artifact(run, str(path), folder or None)


@dataclass(frozen=True)
class About:
    """What is known of a stage before it starts.

    Attributes:
        stage: its name.
        params: the whole of params.yaml, dotted.
        tags: of all runs of the reproduction.
    """

    stage: str
    params: dict[str, Any]
    tags: dict[str, str]


class StageRun:
    """The run of one stage. What `Tracker` offers to a stage is done here, on the other side of the pipe.

    Args:
        store: where it is written.
        run: id of the run.
        parent: id of the reproduction's run, or None if the stage stands alone.
        about: the stage.
    """

    def __init__(self, store: Store, run: str, parent: str | None, *, about: About) -> None:
        self.store, self.run, self.parent, self.about = store, run, parent, about
        self._points: list[tuple[str, float, int, int]] = []
        self._summaries: list[tuple[dict[str, float], list[str]]] = []
        self._recipes: recipes.Said | None = None
        self._flushed = time.monotonic()

    def params(self, values: dict[str, Any]) -> None:
        """Write them at once."""
        self.store.write_params(self.run, values)

    def tags(self, values: dict[str, str]) -> None:
        """Write them at once."""
        for key, value in values.items():
            self.store.client.set_tag(self.run, key, value[:TAG_LENGTH])

    def inputs(self, paths: dict[str, str]) -> None:
        """Those that DVC knows, if it is DVC that runs the stage: else they may be others than dvc.lock says."""
        if "DVC_STAGE" in os.environ:
            found = inputs.known(self.store.root, paths.values())
            inputs.write(self.store.client, self.run, found, self.store.root, CONTEXTS.get(self.about.stage, "input"))
            if self.parent:
                shared = [one for one in found if one.path in {paths.get(name) for name in SHARED}]
                inputs.write(self.store.client, self.parent, shared, self.store.root, "reproduction")

    def metrics(self, values: dict[str, float], step: int, timestamp: int) -> None:
        """Keep them until there are enough, or the oldest has waited for long."""
        self._points += [(key, value, timestamp, step) for key, value in values.items()]
        if len(self._points) >= BATCH["metrics"] or time.monotonic() - self._flushed > FLUSH:
            self.flush()

    def flush(self) -> None:
        """Write the metrics that wait."""
        points, self._points, self._flushed = self._points, [], time.monotonic()
        self.store.write_metrics(self.run, points)

    def artifact(self, path: str, folder: str) -> None:
        """Copy it at once."""
        self.store.write_file(self.run, Path(path), folder)

    def model(self, folder: str, name: str) -> None:
        """Log it at once, with the library that can load it."""
        models.log_model(self.store.client, self.store.experiment, run=self.run, folder=Path(folder), name=name)

    def summary(self, values: dict[str, float], paths: list[str]) -> None:
        """Keep it for `finish`."""
        self._summaries.append((values, paths))

    def recipes(self, **said: Any) -> None:
        """Keep it for `finish`."""
        self._recipes = recipes.Said(**said)

    def finish(self) -> None:
        """Write what waits, copy the reports to the parent, give its recipes runs, and see who is champion.

        Only for a stage that ended well: else a killed run would show the scores of the run before it. A
        stage that stands alone keeps its reports.
        """
        self.flush()
        now = time.time_ns() // 1_000_000
        for values, paths in self._summaries:
            self.store.write_metrics(self.parent or self.run, [(k, v, now, 0) for k, v in values.items()])
            for path in paths:
                self.store.write_file(self.parent or self.run, Path(path))
        if self._recipes and self.parent:
            with self.store.lock:
                self._finish_recipes(self._recipes, self.parent)

    def _finish_recipes(self, said: recipes.Said, parent: str) -> None:
        found = recipes.record(self.store, parent, said, params=self.about.params, tags=self.about.tags)
        decided = registry.promote(self.store.client, found, self.about.tags, passed=said.passed)
        self.store.client.set_tag(parent, "registry", decided)
        sys.stderr.write(f"registry: {registry.NAME}: {decided}\n")

    def close(self, status: str, error: str) -> None:
        """Give the run its last status, and its parent the one that follows."""
        if error:
            self.store.client.set_tag(self.run, "error", error[:TAG_LENGTH])
        with self.store.lock:
            self.store.client.set_terminated(self.run, status)
            if self.parent:
                self.store.settle(self.parent)


def probe(path: Path, patience: float) -> None:
    """Open the database for writing, as MLflow would with ten retries and a page of log.

    Raises:
        sqlite3.Error: it is locked, or no database.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path, timeout=patience, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("SELECT count(*) FROM sqlite_master")
        connection.execute("ROLLBACK")


def batches(values: list[Any], size: int) -> Iterator[list[Any]]:
    """Slices of at most `size`."""
    for i in range(0, len(values), size):
        yield values[i : i + size]


def clean(key: str) -> str:
    """A name that MLflow takes: letters, digits and _-. :/, at most 250, the end of a longer one."""
    return re.sub(r"[^\w\-. :/]", "_", key)[-KEY_LENGTH:]


def _text(value: Any) -> str:
    return (value if isinstance(value, str) else json.dumps(value, default=str))[:PARAM_LENGTH]
