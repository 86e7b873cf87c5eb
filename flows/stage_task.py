"""One stage as a task of Prefect: brought up to date by DVC, with its output in the log."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows.git_commands import clean_environment
from flows.process import TooLate, run

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
