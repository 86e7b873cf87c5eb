"""Reads and writes MLflow runs: one per reproduction, with its stages' runs below it.

Only the writer process uses it. MLflow is imported late, after checking that the store is not
locked.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from captionseg.runtime.start_up import collect_nothing
from captionseg.tracking import moved_store, reproduction
from captionseg.tracking.environment import EXPERIMENT
from captionseg.tracking.reproduction import KEY, PARENT
from captionseg.tracking.values import clean

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

OWNER = "owner"
LIFE = "system/cpu_utilization_percentage"
SILENCE = 1800.0  # seconds
PARAM_LENGTH = 6000
BATCH = {"metrics": 1000, "params": 100}  # MLflow's limits per call


class Store:
    """Our experiment in MLflow's store, with a lock against other writers on this machine.

    Args:
        root: root of the repository.
        patience: seconds to wait for a locked store.

    Raises:
        Exception: from MLflow, sqlite or the lock, if the store cannot be used.
    """

    def __init__(self, root: Path, patience: float) -> None:
        home, uri = reproduction.find_home(root), reproduction.store_uri(root)
        self.root = root
        # Another writer may hold it for a while (creating the schema takes seconds, on a busy
        # machine a minute), but not forever: it is released when its owner dies.
        self.lock = FileLock(home / "mlflow.db.lock", timeout=12 * patience)
        database, artifacts = reproduction.find_database(uri), None
        if database:
            artifacts = (database.parent / moved_store.ARTIFACTS).as_uri()
            with self.lock:
                probe(database, patience)
                if database == home / reproduction.DATABASE:
                    moved_store.follow(database)
            uri = uri if "?" in uri else f"{uri}?timeout={patience:g}"
        client = import_client()
        with self.lock:  # the first writer creates the schema
            # The registry must be in the same store, whatever MLFLOW_REGISTRY_URI says, because
            # its versions refer to logged models.
            with collect_nothing():  # it imports sqlalchemy and the store
                self.client = client(uri, uri)
            experiment = self.client.get_experiment_by_name(EXPERIMENT)
            # The kind makes the UI show its pages for training first, not those for chat.
            self.experiment = (
                experiment.experiment_id
                if experiment
                else self.client.create_experiment(
                    EXPERIMENT,
                    artifact_location=artifacts,
                    tags={"mlflow.experimentKind": "custom_model_development"},
                )
            )

    def runs(self, where: str) -> list[Run]:
        """Return the runs that match an MLflow filter, oldest first."""
        return list(
            self.client.search_runs(
                [self.experiment], where, order_by=["attributes.start_time ASC"], max_results=1000
            )
        )

    def create(self, tags: Mapping[str, str], name: str, *, began: int | None = None) -> str:
        """Create a run, which began now or at these milliseconds since 1970, and return its id."""
        run = self.client.create_run(
            self.experiment, start_time=began, tags=dict(tags), run_name=name
        )
        return run.info.run_id

    def children(self, parent: str) -> list[Run]:
        """Return the runs below a run, oldest first."""
        return self.runs(f"tags.`{PARENT}` = '{parent}'")

    def recipes(self, key: str) -> list[Run]:
        """Return the runs of a reproduction's recipes, oldest first."""
        return self.runs(f"tags.{KEY} = '{key}' and tags.role = 'recipe'")

    def agrees(self, run: Run, values: Mapping[str, Any]) -> bool:
        """Return whether these params can be written to a run: MLflow cannot change params."""
        return all(run.data.params.get(clean(k), _text(v)) == _text(v) for k, v in values.items())

    def parent(
        self,
        owner: reproduction.Reproduction,
        tags: dict[str, str],
        params: Mapping[str, Any],
        *,
        began: int | None = None,
    ) -> str:
        """Return the id of a reproduction's run, which is created if missing, see `create`."""
        runs = self.runs(f"tags.{KEY} = '{owner.key}' and tags.role = 'reproduction'")
        if runs:
            self.client.update_run(runs[0].info.run_id, "RUNNING")
            if "dvc.lock" in tags:
                self.client.set_tag(runs[0].info.run_id, "dvc.lock", tags["dvc.lock"])
            return runs[0].info.run_id
        tags = {**tags, KEY: owner.key, "role": "reproduction", "mlflow.source.name": "dvc.yaml"}
        parent = self.create(tags, owner.name, began=began)
        self.write_params(parent, params)
        return parent

    def reap(self) -> None:
        """Set the status of runs whose process died before it could."""
        parents = set()
        for run in self.runs("attributes.status = 'RUNNING'"):
            owner = run.data.tags.get(OWNER, "")
            silent = reproduction.is_foreign(owner) and self.is_silent(run)
            if silent or reproduction.is_dead(owner):
                if run.data.tags.get("role") == "reproduction":
                    parents.add(run.info.run_id)
                else:
                    self.client.set_terminated(run.info.run_id, "KILLED")
                    parents.add(run.data.tags.get(PARENT))
        for parent in parents - {None}:
            self.settle(parent)

    def is_silent(self, run: Run) -> bool:
        """Return whether a run has not reported its machine's load for a long time.

        This is all that is known about a process on another host, or on a renamed machine. A run
        that was wrongly taken for dead still sets its own status at its end.
        """
        history = self.client.get_metric_history(run.info.run_id, LIFE)
        heard = max([run.info.start_time or 0, *(metric.timestamp for metric in history)])
        return time.time() - heard / 1000 > SILENCE

    def settle(self, parent: str) -> None:
        """Set the status of a reproduction from the last runs of its stages: running, failed,
        killed or finished.
        """
        latest = {
            (run.data.tags.get("stage"), run.data.tags.get("recipe")): run.info.status
            for run in self.children(parent)
        }
        if "RUNNING" not in latest.values():
            worst = [status for status in ("FAILED", "KILLED") if status in latest.values()]
            self.client.set_terminated(
                parent, worst[0] if worst else "FINISHED" if latest else "KILLED"
            )

    def write_params(self, run: str, values: Mapping[str, Any]) -> None:
        """Write params, truncated to what MLflow stores."""
        from mlflow.entities import Param

        params = [Param(clean(k), _text(v)) for k, v in values.items()]
        for batch in split_batches(params, BATCH["params"]):
            self.client.log_batch(run, params=batch)

    def write_metrics(
        self, run: str, points: Iterable[tuple[str, float, int, int]], *, model: str | None = None
    ) -> None:
        """Write metrics (name, value, time in ms, step), also to the logged model with this id."""
        from mlflow.entities import Metric

        metrics = [
            Metric(clean(key), value, timestamp, step, model_id=model)
            for key, value, timestamp, step in points
        ]
        for batch in split_batches(metrics, BATCH["metrics"]):
            self.client.log_batch(run, metrics=batch)

    def write_summary(self, run: str, values: Mapping[str, float], paths: Iterable[Path]) -> None:
        """Write numbers and files of a whole reproduction to its run."""
        now = time.time_ns() // 1_000_000
        self.write_metrics(run, [(key, value, now, 0) for key, value in values.items()])
        for path in paths:
            self.write_file(run, path)

    def write_file(self, run: str, path: Path, folder: str = "") -> None:
        """Write a file, or a folder under its own name."""
        if path.is_dir():
            self.client.log_artifacts(run, str(path), "/".join(filter(None, [folder, path.name])))
        else:
            self.client.log_artifact(run, str(path), folder or None)


def import_client() -> type[MlflowClient]:
    """Import MLflow, which takes more than a second."""
    with collect_nothing():
        from mlflow.tracking import MlflowClient
    return MlflowClient


def import_backend() -> None:
    """Import MLflow and, unless a server keeps the runs, what it keeps them in itself."""
    import_client()
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if not uri or uri.startswith(reproduction.SQLITE):
        with collect_nothing():
            import mlflow.store.model_registry.sqlalchemy_store
            import mlflow.store.tracking.sqlalchemy_store  # noqa: F401


def probe(path: Path, patience: float) -> None:
    """Open the database for writing; MLflow itself would retry ten times and print a page of log.

    Raises:
        sqlite3.Error: it is locked, or not a database.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(
        sqlite3.connect(path, timeout=patience, isolation_level=None)
    ) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("SELECT count(*) FROM sqlite_master")
        connection.execute("ROLLBACK")


def split_batches(values: list[Any], size: int) -> Iterator[list[Any]]:
    """Split a list into slices of at most `size`."""
    for i in range(0, len(values), size):
        yield values[i : i + size]


def _text(value: Any) -> str:
    return (value if isinstance(value, str) else json.dumps(value, default=str))[:PARAM_LENGTH]
