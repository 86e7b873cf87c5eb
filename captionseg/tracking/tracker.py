"""Records a run's params, metrics, pictures and models in MLflow, unless tracking is off.

    with start("pretrain", "cocu-mil", root=Path()) as tracker:
        tracker.params({"epochs": 20})
        tracker.metrics({"loss": 1.2}, step=3)

MLflow only shows files that DVC owns, so an error here is one line of warning and the stage
continues. Importing MLflow takes 1.8 s of processor time, so a stage never does it: it sends its
calls as lines of JSON to a writer process (writer.py) on another core, and waits for that once, at
its end. CAPTIONSEG_TRACKING=off turns tracking off.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from captionseg.storage.nested import flatten
from captionseg.tracking.environment import PATIENCE, build_environment, is_off
from captionseg.tracking.log_handler import write
from captionseg.tracking.values import flatten_numbers

log = logging.getLogger(__name__)


FAREWELL = 300.0
"""Seconds that a finished stage waits for its writer, which may have to upload models."""


class Tracker(Protocol):
    """What a stage can record while it runs. Files passed here must exist until the stage ends."""

    def params(self, values: Mapping[str, Any]) -> None:
        """Record params; nested mappings become dotted names."""
        ...

    def metrics(self, values: Mapping[str, Any], step: int | None = None) -> None:
        """Record metrics, at a training step or (None) once; nested mappings become dotted
        names.
        """
        ...

    def tags(self, values: Mapping[str, str]) -> None:
        """Record tags, by which runs are filtered and grouped."""
        ...

    def inputs(self, paths: Mapping[str, Path]) -> None:
        """Record inputs by their names in the stage; those in dvc.lock become data sets with
        digests.
        """
        ...

    def artifact(self, path: Path, folder: str = "") -> None:
        """Record a file or a whole folder, in `folder` of the run."""
        ...

    def model(self, folder: Path, name: str) -> None:
        """Record models/RECIPE as a model that MLflow can load and serve."""
        ...

    def summary(self, values: Mapping[str, Any], paths: Sequence[Path] = ()) -> None:
        """Record metrics and files of the whole reproduction on its run, if this stage finishes."""
        ...

    def recipes(
        self,
        numbers: Mapping[str, Any],
        labels: Mapping[str, Mapping[str, str]],
        *,
        benchmark: str,
        folders: Mapping[str, Path],
    ) -> None:
        """Record the recipes of the reproduction, each as a run with its model, and update the
        champion, if this stage finishes.

        Args:
            numbers: metrics.json.
            labels: recipe -> its labels, see `list_labels`.
            benchmark: the benchmark whose scores count.
            folders: `models`, `areas` (or the file of a single recipe), `pairs` and optionally
                `pictures`.
        """
        ...


class NullTracker:
    """A tracker that records nothing."""

    def params(self, values: Mapping[str, Any]) -> None: ...
    def metrics(self, values: Mapping[str, Any], step: int | None = None) -> None: ...
    def tags(self, values: Mapping[str, str]) -> None: ...
    def inputs(self, paths: Mapping[str, Path]) -> None: ...
    def artifact(self, path: Path, folder: str = "") -> None: ...
    def model(self, folder: Path, name: str) -> None: ...
    def summary(self, values: Mapping[str, Any], paths: Sequence[Path] = ()) -> None: ...
    def recipes(
        self,
        numbers: Mapping[str, Any],
        labels: Mapping[str, Mapping[str, str]],
        *,
        benchmark: str,
        folders: Mapping[str, Path],
    ) -> None: ...


class WriterTracker:
    """A tracker that sends its calls to a writer process, which writes to MLflow.

    Args:
        stage: name of the stage.
        recipe: its recipe, if any.
        root: root of the repository, or of DVC's temporary copy of it.
        params: the whole of params.yaml, for the parent run.

    Raises:
        OSError: the writer could not be started.
    """

    def __init__(
        self, stage: str, recipe: str | None, *, root: Path, params: Mapping[str, Any] | None = None
    ) -> None:
        self._lock = threading.Lock()
        self._process = _prepared.pop() if _prepared else launch_writer()
        self._relay = threading.Thread(target=self._repeat, daemon=True)
        self._relay.start()
        self._send(
            "start",
            stage=stage,
            recipe=recipe,
            root=str(root.resolve()),
            params=flatten(params or {}),
            patience=PATIENCE,
            began=time.time_ns() // 1_000_000,  # before the writer has imported MLflow
        )

    def params(self, values: Mapping[str, Any]) -> None:
        self._send("params", values=flatten(values))

    def metrics(self, values: Mapping[str, Any], step: int | None = None) -> None:
        self._send(
            "metrics",
            values=flatten_numbers(values),
            step=step or 0,
            timestamp=time.time_ns() // 1_000_000,
        )

    def tags(self, values: Mapping[str, str]) -> None:
        self._send("tags", values=dict(values))

    def inputs(self, paths: Mapping[str, Path]) -> None:
        self._send("inputs", paths={name: path.as_posix() for name, path in paths.items()})

    def artifact(self, path: Path, folder: str = "") -> None:
        self._send("artifact", path=str(Path(path).absolute()), folder=folder)

    def model(self, folder: Path, name: str) -> None:
        self._send("model", folder=str(Path(folder).absolute()), name=name)

    def summary(self, values: Mapping[str, Any], paths: Sequence[Path] = ()) -> None:
        self._send(
            "summary",
            values=flatten_numbers(values),
            paths=[str(Path(p).absolute()) for p in paths],
        )

    def recipes(
        self,
        numbers: Mapping[str, Any],
        labels: Mapping[str, Mapping[str, str]],
        *,
        benchmark: str,
        folders: Mapping[str, Path],
    ) -> None:
        places = {name: str(Path(path).absolute()) for name, path in folders.items()}
        self._send("recipes", numbers=numbers, labels=labels, benchmark=benchmark, **places)

    def end(self, status: str, error: str = "") -> None:
        """Send the final status (an MLflow run status) and wait until everything is written."""
        self._send("end", status=status, error=error)
        with contextlib.suppress(OSError):
            self._process.stdin.close()  # type: ignore[union-attr]
        try:
            code = self._process.wait(FAREWELL)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            log.warning(
                "tracking: the writer did not finish within %g s; this run is not fully recorded",
                FAREWELL,
            )
            return
        self._relay.join(FAREWELL)
        if code not in (0, 1):  # 1: it has printed the reason itself
            log.warning("tracking: the writer died (code %d); this run is not fully recorded", code)

    def _repeat(self) -> None:
        """Print the writer's messages between the progress bars of the stage."""
        stderr = self._process.stderr
        assert stderr is not None
        with stderr, contextlib.suppress(ValueError):  # our own standard error was closed
            for line in stderr:
                write(line.rstrip("\n"))

    def _send(self, call: str, **values: Any) -> None:
        line = json.dumps({"call": call, **values}, default=str)
        # A writer that gave up has printed why, so a broken pipe is ignored.
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(line + "\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]


_prepared: list[subprocess.Popen[str]] = []
"""A writer that was launched before its stage was known."""


def launch_writer() -> subprocess.Popen[str]:
    """Start the process of a writer; it ends by itself when its input does.

    Raises:
        OSError: it could not be started.
    """
    library = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [library, os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "captionseg.tracking.writer"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**build_environment(os.environ), "PYTHONPATH": path},
        text=True,
        errors="replace",
    )


def prepare_writer() -> None:
    """Launch the writer that the next `start` takes: it imports MLflow while its stage imports its
    own libraries, on one core, and not while it works on all of them.
    """
    if not is_off() and not _prepared:
        with contextlib.suppress(OSError):  # which `start` says
            _prepared.append(launch_writer())


@contextlib.contextmanager
def start(
    stage: str, recipe: str | None, *, root: Path, params: Mapping[str, Any] | None = None
) -> Iterator[Tracker]:
    """Start tracking a stage, as a run below the reproduction's run.

    Args:
        stage: name of the stage.
        recipe: its recipe, if any.
        root: root of the repository, which has the store, also for DVC's temporary copies.
        params: the whole of params.yaml, so that reproductions can be compared.

    Yields:
        a tracker. The run ends as FINISHED, FAILED (an exception) or KILLED (an interrupt or
        signal).
    """
    if is_off():
        yield NullTracker()
        return
    try:
        tracker = WriterTracker(stage, recipe, root=root, params=params)
    except OSError as error:
        log.warning("tracking: cannot start the writer (%s); this run is not recorded", error)
        yield NullTracker()
        return
    status, reason = "KILLED", ""
    try:
        yield tracker
        status = "FINISHED"
    except Exception as error:
        status, reason = "FAILED", f"{type(error).__name__}: {error}"
        raise
    finally:
        tracker.end(status, reason)
