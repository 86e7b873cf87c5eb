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
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.runtime import flow_run
from prefect.tasks import exponential_backoff

from flows.git_commands import WorkspaceError
from flows.plan import PlanError, Stage, read
from flows.publish import publish, publish_failure
from flows.report_backup import preserve_reports, recover
from flows.runs import RUN
from flows.stage_task import StageError, run_stage
from flows.workspace import Job, workspace

ROOT = Path(__file__).resolve().parents[1]


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
