"""Where a run's params, metrics, pictures and models go besides files: MLflow, or nowhere.

    with start("pretrain", "cocu-mil", root=Path()) as tracker:
        tracker.params({"epochs": 20})
        tracker.metrics({"loss": 1.2}, step=3)

MLflow is a projection of the files that DVC owns, never their source: whatever goes wrong here is
one line of warning and the stage goes on. MLflow takes 2.4 s of processor time in each process that
imports it, so a stage never does: it hands what it has to say, as lines of JSON, to a writer of its
own (writer.py) that works beside it on another core, and waits for it once, at the end.
CAPTIONSEG_TRACKING=off says nothing to nobody.
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

from captionseg.tracking.environment import PATIENCE, build_environment, is_off
from captionseg.tracking.lines import write
from captionseg.tracking.values import flatten, flatten_numbers

log = logging.getLogger(__name__)


FAREWELL = 300.0
"""Seconds that a stage that is done waits for its writer, which may send models far away."""


class Tracker(Protocol):
    """What a stage may say of itself while it runs. Files named here must stay until the stage
    ends.
    """

    def params(self, values: Mapping[str, Any]) -> None:
        """What was chosen; nested mappings become dotted names."""
        ...

    def metrics(self, values: Mapping[str, Any], step: int | None = None) -> None:
        """What was measured, at a step of training or (None) once; nested mappings become dotted
        names.
        """
        ...

    def tags(self, values: Mapping[str, str]) -> None:
        """What runs are filtered and grouped by."""
        ...

    def inputs(self, paths: Mapping[str, Path]) -> None:
        """What is read, by its name in the stage; what DVC knows of it becomes data sets with its
        digests.
        """
        ...

    def artifact(self, path: Path, folder: str = "") -> None:
        """A file, or a folder with all that is in it, put under `folder` of the run."""
        ...

    def model(self, folder: Path, name: str) -> None:
        """models/RECIPE as a model that MLflow can load and serve."""
        ...

    def summary(self, values: Mapping[str, Any], paths: Sequence[Path] = ()) -> None:
        """Reports of the whole reproduction: metrics and files of the parent run, if this stage
        finishes.
        """
        ...

    def recipes(
        self,
        numbers: Mapping[str, Any],
        labels: Mapping[str, Mapping[str, str]],
        *,
        benchmark: str,
        folders: Mapping[str, Path],
    ) -> None:
        """The recipes of the whole reproduction, a run and a model each, and one that may become
        champion, if this stage finishes.

        Args:
            numbers: metrics.json.
            labels: recipe -> its `labels`.
            benchmark: whose scores count.
            folders: `models`, `areas` (or the file of the one recipe), `pairs`, perhaps `pictures`.
        """
        ...


class NullTracker:
    """Says nothing to nobody."""

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
    """Says it to a writer process, which says it to MLflow.

    Args:
        stage: name of the stage.
        recipe: the recipe that it works on, if any.
        root: root of the repository, or of DVC's temporary copy of it.
        params: the whole of params.yaml, for the parent run.

    Raises:
        OSError: the writer could not be started.
    """

    def __init__(
        self, stage: str, recipe: str | None, *, root: Path, params: Mapping[str, Any] | None = None
    ) -> None:
        library = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, [library, os.environ.get("PYTHONPATH")]))
        environ = {**build_environment(os.environ), "PYTHONPATH": path}
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "captionseg.tracking.writer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environ,
            text=True,
            errors="replace",
        )
        self._relay = threading.Thread(target=self._repeat, daemon=True)
        self._relay.start()
        self._send(
            "start",
            stage=stage,
            recipe=recipe,
            root=str(root.resolve()),
            params=flatten(params or {}),
            patience=PATIENCE,
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
        """Say how the stage ended (an MLflow run status) and wait until everything is written."""
        self._send("end", status=status, error=error)
        with contextlib.suppress(OSError):
            self._process.stdin.close()  # type: ignore[union-attr]
        try:
            code = self._process.wait(FAREWELL)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            log.warning(
                "tracking: the writer was not done after %g s; some of this run is not recorded",
                FAREWELL,
            )
            return
        self._relay.join(FAREWELL)
        if code not in (0, 1):  # 1: it has said why itself
            log.warning(
                "tracking: the writer died (code %d); some of this run is not recorded", code
            )

    def _repeat(self) -> None:
        """What the writer says, between the progress bars of the stage."""
        stderr = self._process.stderr
        assert stderr is not None
        with stderr, contextlib.suppress(ValueError):  # our own standard error was closed
            for line in stderr:
                write(line.rstrip("\n"))

    def _send(self, call: str, **values: Any) -> None:
        line = json.dumps({"call": call, **values}, default=str)
        # A writer that gave up has said so: a broken pipe is no news.
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(line + "\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]


@contextlib.contextmanager
def start(
    stage: str, recipe: str | None, *, root: Path, params: Mapping[str, Any] | None = None
) -> Iterator[Tracker]:
    """The tracker of one stage of one reproduction: a run of its own below the reproduction's run.

    Args:
        stage: name of the stage.
        recipe: the recipe that it works on, if any.
        root: root of the repository; the store is there, also for DVC's temporary copies of it.
        params: the whole of params.yaml, so that reproductions can be compared by it.

    Yields:
        A tracker. The run ends FINISHED, FAILED (an exception) or KILLED (an interrupt, a signal).
    """
    if is_off():
        yield NullTracker()
        return
    try:
        tracker = WriterTracker(stage, recipe, root=root, params=params)
    except OSError as error:
        log.warning("tracking: no writer (%s); this run is not recorded", error)
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
