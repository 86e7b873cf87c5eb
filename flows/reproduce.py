"""The DAG, or a part of it, stage by stage through DVC, with retries, time-outs, streamed logs and
artifacts.

    python -m flows.reproduce                                   # everything, with no server running
    python -m flows.reproduce --targets curate                  # a stage and what it needs
    python -m flows.reproduce --recipes cocu-mil -S pretrain.epochs=2   # a copy, as an experiment

Each stage is one task that runs `dvc repro STAGE`. What it needs has run before, so DVC finds that
unchanged, and decides by itself whether the stage runs, comes from its run-cache or stays as it is:
Prefect caches nothing.
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

from flows.plan import PlanError, Stage, read
from flows.process import TooLate, run
from flows.publish import publish, publish_failure
from flows.report_backup import preserve_reports, recover
from flows.runs import RUN
from flows.workspace import Job, WorkspaceError, clean_environment, workspace

ROOT = Path(__file__).resolve().parents[1]
TAIL = 20  # lines of a stage's log that its failure carries

OUTCOMES = {"ran": "Running stage '{}':", "restored": "Stage '{}' is cached - skipping run"}


class StageError(Exception):
    """A stage failed for the last time. The first line names it; the last ones of its log follow.

    Args:
        stage: its name.
        what: what became of it.
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
        name: as DVC addresses it.
        root: the repository.
        timeout: seconds.
        flow_run_id: what the stages' tracking knows this reproduction by.
        force: run it though nothing changed. Then `--single-item`, which else must not be: it takes
            the half-written output of a stage that failed. Here all that it needs has ended well
            just before.

    Returns:
        `ran`, `restored` (from DVC's run-cache) or `unchanged`.

    Raises:
        StageError: it failed or took too long. All its processes are gone.
    """
    logger = get_run_logger()
    lines: list[str] = []

    def say(line: str) -> None:
        logger.info(line)
        lines.append(line)

    # `python` of dvc.yaml is this one. tqdm draws ten times a second; each drawing would be a line
    # of the log. SHELL, by which DVC runs commands, may be one that knows no sh, or forbids to log
    # in.
    environ = {
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


def find_reason(lines: list[str]) -> str:
    """What a stage that failed said last, before DVC's own words about it."""
    lines = [
        line.strip()
        for line in lines
        if line.strip() and not line.startswith("ERROR: failed to reproduce")
    ]
    return lines[-1][:300] if lines else "it said nothing"


@flow(name="reproduce")
def reproduce(
    targets: list[str] | None = None,
    recipes: list[str] | None = None,
    overrides: list[str] | None = None,
    force: bool = False,
    root: str | None = None,
) -> list[dict[str, Any]]:
    """Bring stages and what they need up to date, and show what came of it.

    Args:
        targets: stages of dvc.yaml; neither these nor recipes: all stages.
        recipes: train and score these recipes of params.yaml.
        overrides: changes of params.yaml as after `dvc exp run -S`. Then the run works in a copy of
            the repository, beside others, and is kept as an experiment of DVC; else it waits until
            it has the repository to itself.
        force: run the targets (none: all stages) though nothing changed (a source that has new
            pictures), not what they need.
        root: the repository; by default the one that this file is in.

    Returns:
        A row per stage: stage, outcome, seconds.

    Raises:
        PlanError: the stages cannot be read.
        WorkspaceError: no copy could be made, or the experiment not be kept.
        StageError: a stage failed; nothing after it was run.
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
        forced = {
            stage.name
            for stage in stages
            if force and (not targets or {stage.name, stage.name.split("@")[0]} & set(targets))
        }
        rows = run_all(stages, folder, key, forced)
        publish(folder, stages, key)
    return rows


@contextlib.contextmanager
def follow_worker(environ: Mapping[str, str] = os.environ) -> Iterator[None]:
    """While a run of a worker is in here it ends when that worker is gone, as if it had been told
    to.

    Else it would go on unseen until it says something, for nobody reads that.
    """
    worker, left = os.getppid(), threading.Event()

    def watch() -> None:
        while not left.wait(0.2):
            if os.getppid() != worker:
                with open(os.devnull, "wb") as nowhere:  # what is said on the way would fail
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
    """Stage after stage to the first that fails; the table of what became of each is an artifact in
    any case.
    """
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
            table=rows, key="stages", description="What each stage came to, retries included."
        )
    return rows


def add_options(stage: Stage) -> Any:
    """`run_stage` with the stage's name, retries and tags."""
    return run_stage.with_options(
        name=stage.name,
        task_run_name=stage.name,
        retries=stage.retries,
        retry_delay_seconds=exponential_backoff(stage.retry_delay_seconds),
        tags=["gpu"] if stage.gpu else [],
    )


def stop(number: int, frame: object) -> None:
    """Leave as after any exception: by default SIGTERM would leave Prefect's temporary server
    behind.
    """
    sys.exit(128 + number)


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0, or 1 after one line that names the stage that failed."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.reproduce", description="Bring stages up to date."
    )
    parser.add_argument(
        "--targets", nargs="*", default=[], help="stages to bring up to date, with what they need"
    )
    parser.add_argument("--recipes", nargs="*", default=[], help="recipes to train and score")
    parser.add_argument(
        "-S",
        "--set-param",
        action="append",
        default=[],
        dest="overrides",
        metavar="NAME=VALUE",
        help="a change of params.yaml, as of `dvc exp run`; the run works in a copy",
    )
    parser.add_argument(
        "--force", action="store_true", help="run the targets though nothing changed"
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
