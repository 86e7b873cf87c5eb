"""The whole DAG, stage by stage through DVC, with retries, time-outs, streamed logs and artifacts.

    python -m flows.reproduce                       # everything, with no server running
    python -m flows.reproduce --targets curate      # a stage and what it needs

Each stage is one task that runs `dvc repro STAGE`. What it needs has run before, so DVC finds that unchanged, and
decides by itself whether the stage runs, comes from its run-cache or stays as it is: Prefect caches nothing. Never
`dvc repro --single-item`: it takes the half-written output of a stage that failed for good.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from flows.plan import PlanError, Stage, read
from flows.process import TooLate, run

ROOT = Path(__file__).resolve().parents[1]

OUTCOMES = {"ran": "Running stage '{}':", "restored": "Stage '{}' is cached - skipping run"}


class StageError(Exception):
    """A stage failed for the last time. One line that names it."""


@task(cache_policy=NO_CACHE, persist_result=False)
def run_stage(name: str, *, root: str, timeout: float | None, flow_run_id: str) -> str:
    """Bring one stage up to date; its output goes to the log of this task, line by line.

    Args:
        name: as DVC addresses it.
        root: the repository.
        timeout: seconds.
        flow_run_id: what the stages' tracking knows this reproduction by.

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

    # `python` of dvc.yaml is this one. tqdm draws ten times a second; each drawing would be a line of the log.
    environ = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "CAPTIONSEG_FLOW_RUN": flow_run_id,
        "DVC_NO_ANALYTICS": "1",
        "PYTHONUNBUFFERED": "1",
        "TQDM_MININTERVAL": "10",
    }
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", name]
    try:
        code = run(command, say, cwd=Path(root), env=environ, timeout=timeout)
    except TooLate as error:
        raise StageError(f"stage {name!r}: {error}") from None
    if code:
        raise StageError(f"stage {name!r} failed with exit code {code}: {reason(lines)}")
    return next(
        (outcome for outcome, words in OUTCOMES.items() if any(line.startswith(words.format(name)) for line in lines)),
        "unchanged",
    )


def reason(lines: list[str]) -> str:
    """What a stage that failed said last, before DVC's own words about it."""
    said = [line.strip() for line in lines if line.strip() and not line.startswith("ERROR: failed to reproduce")]
    return said[-1][:300] if said else "it said nothing"


@flow(name="reproduce")
def reproduce(targets: list[str] | None = None, root: str = str(ROOT)) -> list[dict[str, Any]]:
    """Bring `targets` (default: all stages of dvc.yaml) up to date, and show what came of it.

    Returns:
        A row per stage: stage, outcome, seconds.

    Raises:
        PlanError: the stages cannot be read.
        StageError: a stage failed; nothing after it was run.
    """
    stages = read(Path(root), targets or [])
    get_run_logger().info("%d stages: %s", len(stages), ", ".join(stage.name for stage in stages))
    rows = [{"stage": stage.name, "outcome": "not run", "seconds": 0.0} for stage in stages]
    try:
        for stage, row in zip(stages, rows, strict=True):
            started, row["outcome"] = time.perf_counter(), "failed"
            try:
                row["outcome"] = with_options(stage)(
                    stage.name, root=root, timeout=stage.timeout, flow_run_id=str(flow_run.id)
                )
            finally:
                row["seconds"] = round(time.perf_counter() - started, 1)
        publish_reports(Path(root))
    finally:
        create_table_artifact(table=rows, key="stages", description="What each stage came to, retries included.")
    return rows


def with_options(stage: Stage) -> Any:
    """`run_stage` with the stage's name, retries and tags."""
    return run_stage.with_options(
        name=stage.name,
        task_run_name=stage.name,
        retries=stage.retries,
        retry_delay_seconds=stage.retry_delay_seconds,
        tags=["gpu"] if stage.gpu else [],
    )


def publish_reports(root: Path) -> None:
    """reports/metrics.json as a table, and where the page is. Of a run that finished: else it is an older one's."""
    metrics, page = root / "reports" / "metrics.json", root / "reports" / "index.html"
    if metrics.exists():
        text = table(json.loads(metrics.read_text()))
        where = f"\n\nPage: `{page}`\n" if page.exists() else "\n"
        create_markdown_artifact(markdown=text + where, key="metrics", description="reports/metrics.json")


def table(values: Mapping[str, Any]) -> str:
    """A markdown table of the leaves of `values` by dotted name."""
    rows = [f"| {name} | {value:.6g} |" for name, value in leaves(values)]
    return "\n".join(["| metric | value |", "|---|---:|", *rows])


def leaves(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """(dotted name, number) of each number."""
    found = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            found += leaves(value, f"{prefix}{key}.")
        elif isinstance(value, int | float):
            found.append((f"{prefix}{key}", value))
    return found


def stop(number: int, frame: object) -> None:
    """Leave as after any exception: by default SIGTERM would leave Prefect's temporary server behind."""
    sys.exit(128 + number)


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0, or 1 after one line that names the stage that failed."""
    parser = argparse.ArgumentParser(prog="python -m flows.reproduce", description=reproduce.description)
    parser.add_argument("--targets", nargs="*", default=[], help="stages to bring up to date, with what they need")
    parser.add_argument("--root", default=str(ROOT), help="the repository (default: %(default)s)")
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, stop)
    try:
        reproduce(arguments.targets, arguments.root)
    except (StageError, PlanError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
