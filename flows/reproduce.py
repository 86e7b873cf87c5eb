"""Runs the DAG or a part of it, stage by stage through DVC, with retries, time-outs, streamed logs
and artifacts.

    python -m flows.reproduce                                   # everything, without a server
    python -m flows.reproduce --targets curate                  # a stage and its dependencies
    python -m flows.reproduce --recipes cocu-mil -S pretrain.epochs=2   # a copy, as an experiment

Each stage is a task that runs `dvc repro STAGE`. Its dependencies ran before, so DVC finds them
unchanged; DVC decides whether the stage runs, comes from the run-cache or is up to date. Prefect
caches nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run
from prefect.tasks import exponential_backoff

from flows.git_commands import WorkspaceError, clean_environment
from flows.plan import PlanError, Stage, read
from flows.process import TooLate, run
from flows.publish import publish, publish_failure
from flows.report_backup import preserve_reports, recover
from flows.runs import RUN
from flows.workspace import Job, workspace

ROOT = Path(__file__).resolve().parents[1]
TAIL = 20  # lines of a stage's log in its failure message

OUTCOMES = {"ran": "Running stage '{}':", "restored": "Stage '{}' is cached - skipping run"}


class StageError(Exception):
    """A stage failed after all retries. The message names it and ends with its last lines of log.

    Args:
        stage: its name.
        what: what happened.
        lines: its log.
    """

    def __init__(self, stage: str, what: str, lines: Sequence[str] = ()) -> None:
        self.stage, self.what, self.lines = stage, f"stage {stage!r}{what}", [*lines[-TAIL:]]
        super().__init__(
            "\n".join([self.what, *(["last lines of its log:"] if lines else []), *self.lines])
        )


@task(cache_policy=NO_CACHE, persist_result=False)
def run_stage(
    name: str, *, root: str, timeout: float | None, flow_run_id: str, force: bool = False
) -> str:
    """Bring one stage up to date; its output goes to the log of this task, line by line.

    Args:
        name: DVC's address of the stage.
        root: the repository.
        timeout: seconds.
        flow_run_id: identifies this reproduction in the stages' tracking.
        force: run it even if nothing changed. This uses `--single-item`, which would accept
            unfinished outputs of a failed stage, but here all dependencies have just succeeded.

    Returns:
        `ran`, `restored` (from DVC's run-cache) or `unchanged`.

    Raises:
        StageError: it failed or timed out; all its processes were ended.
    """
    logger = get_run_logger()
    lines: list[str] = []

    def say(line: str) -> None:
        logger.info(line)
        lines.append(line)

    environ = build_environment(flow_run_id)
    options = ["--force", "--single-item"] if force else []
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", *options, name]
    try:
        code = run(command, say, cwd=Path(root), env=environ, timeout=timeout)
    except TooLate as error:
        raise StageError(name, f": {error}", lines) from None
    if code:
        own = re.search(r"exited with (-?\d+)\s*$", "\n".join(lines))
        raise StageError(
            name, f" failed with exit code {own[1] if own else code}: {find_reason(lines)}", lines
        )
    return next(
        (
            outcome
            for outcome, words in OUTCOMES.items()
            if any(line.startswith(words.format(name)) for line in lines)
        ),
        "unchanged",
    )


def build_environment(flow_run_id: str) -> dict[str, str]:
    """Return the environment of DVC and the stages that it runs."""
    # PATH makes `python` in dvc.yaml this interpreter. DVC runs commands with SHELL, which may not
    # be POSIX, or may forbid logins. tqdm would write ten lines of log per second.
    return {
        **clean_environment(),
        "SHELL": "/bin/sh",
        "PYTHONUTF8": "1",
        "PATH": os.pathsep.join(
            [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
        ),
        "CAPTIONSEG_FLOW_RUN": flow_run_id,
        "PYTHONUNBUFFERED": "1",
        "TQDM_MININTERVAL": "10",
    }


def find_reason(lines: list[str]) -> str:
    """Return the last line of a failed stage, before DVC's own message."""
    lines = [
        line.strip()
        for line in lines
        if line.strip() and not line.startswith("ERROR: failed to reproduce")
    ]
    return lines[-1][:300] if lines else "no output"


@flow(name="reproduce")
def reproduce(
    targets: list[str] | None = None,
    recipes: list[str] | None = None,
    overrides: list[str] | None = None,
    force: bool = False,
    root: str | None = None,
) -> list[dict[str, Any]]:
    """Bring stages and their dependencies up to date, and publish the results.

    Args:
        targets: stages of dvc.yaml; all stages if there are neither targets nor recipes.
        recipes: recipes of params.yaml to train and score.
        overrides: changes of params.yaml, as for `dvc exp run -S`. The run then works in a copy of
            the repository, in parallel with others, and is kept as a DVC experiment. Without
            overrides it waits until no other run uses the repository.
        force: run the targets (default: all stages) even if nothing changed, for example if a
            source has new pictures; their dependencies are not forced.
        root: the repository; by default the one with this file.

    Returns:
        a row per stage: stage, outcome, seconds.

    Raises:
        PlanError: the stages cannot be read.
        WorkspaceError: the copy cannot be made, or the experiment cannot be kept.
        StageError: a stage failed; later stages were not run.
    """
    targets = [*(targets or []), *(f"evaluate@{recipe}" for recipe in recipes or [])]
    key = str(flow_run.id)
    job = Job(key, flow_run.name or "flow", overrides or ())
    with (
        follow_worker(),
        workspace(Path(root or ROOT).absolute(), job, get_run_logger().info) as folder,
    ):
        recover(folder, get_run_logger().warning)
        stages = read(folder, targets)
        get_run_logger().info(
            "%d stages: %s", len(stages), ", ".join(stage.name for stage in stages)
        )
        rows = run_all(stages, folder, key, select(stages, targets) if force else set())
        publish(folder, stages, key)
    return rows


def select(stages: Sequence[Stage], targets: Sequence[str]) -> set[str]:
    """Return the names of the stages that are targets, not only dependencies of them; without
    targets, of all.
    """
    return {
        stage.name
        for stage in stages
        if not targets or {stage.name, stage.name.split("@")[0]} & set(targets)
    }


@contextlib.contextmanager
def follow_worker(environ: Mapping[str, str] = os.environ) -> Iterator[None]:
    """End a worker's run when the worker is gone, as with SIGTERM.

    Otherwise it would continue unnoticed until it writes output, which nobody reads.
    """
    worker, left = os.getppid(), threading.Event()

    def watch() -> None:
        while not left.wait(0.2):
            if os.getppid() != worker:
                with open(os.devnull, "wb") as nowhere:  # further output would raise an error
                    for number in (1, 2):
                        os.dup2(nowhere.fileno(), number)
                os.kill(os.getpid(), signal.SIGTERM)
                return

    if RUN in environ:
        threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        left.set()


def run_all(
    stages: Sequence[Stage], root: Path, key: str, forced: set[str]
) -> list[dict[str, Any]]:
    """Run stage after stage until one fails; in any case, publish a table of their outcomes."""
    rows: list[dict[str, Any]] = [
        {"stage": stage.name, "outcome": "not run", "seconds": 0.0} for stage in stages
    ]
    try:
        for stage, row in zip(stages, rows, strict=True):
            started, row["outcome"] = time.perf_counter(), "failed"
            try:
                with preserve_reports(root, stage):
                    row["outcome"] = add_options(stage)(
                        stage.name,
                        root=str(root),
                        timeout=stage.timeout,
                        flow_run_id=key,
                        force=stage.name in forced,
                    )
            finally:
                row["seconds"] = round(time.perf_counter() - started, 1)
    except StageError as error:
        publish_failure(error.stage, error.what, error.lines)
        raise
    finally:
        create_table_artifact(
            table=rows, key="stages", description="Outcome of each stage, including retries."
        )
    return rows


def add_options(stage: Stage) -> Any:
    """Return `run_stage` with the stage's name, retries and tags."""
    return run_stage.with_options(
        name=stage.name,
        task_run_name=stage.name,
        retries=stage.retries,
        retry_delay_seconds=exponential_backoff(stage.retry_delay_seconds),
        tags=["gpu"] if stage.gpu else [],
    )


def stop(number: int, frame: object) -> None:
    """Exit as after an exception; the default for SIGTERM would leave Prefect's temporary server
    running.
    """
    sys.exit(128 + number)


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 1 after one line that names the failed stage."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.reproduce", description="Bring stages up to date."
    )
    parser.add_argument(
        "--targets",
        nargs="*",
        default=[],
        help="stages to bring up to date, with their dependencies (default: all)",
    )
    parser.add_argument("--recipes", nargs="*", default=[], help="recipes to train and score")
    parser.add_argument(
        "-S",
        "--set-param",
        action="append",
        default=[],
        dest="overrides",
        metavar="NAME=VALUE",
        help="change params.yaml, as with `dvc exp run -S`; the run then works in a copy",
    )
    parser.add_argument(
        "--force", action="store_true", help="run the targets even if nothing changed"
    )
    parser.add_argument("--root", default=str(ROOT), help="the repository (default: %(default)s)")
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, stop)
    try:
        reproduce(
            arguments.targets,
            arguments.recipes,
            arguments.overrides,
            arguments.force,
            arguments.root,
        )
    except (StageError, PlanError, WorkspaceError) as error:
        print(f"error: {error.what if isinstance(error, StageError) else error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
