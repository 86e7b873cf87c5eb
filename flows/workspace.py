"""The workspace of a run: the repository, for one run at a time, or a copy that becomes a DVC
experiment.

A run without overrides brings the repository itself up to date; others without overrides wait for
it. A run with overrides works in a copy in .dvc/tmp/exps, like `dvc exp run --temp`, with the same
cache.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from flows.git_commands import DIFF, WorkspaceError, clean_environment, find_prefix, run_git
from flows.locks import hold_lock

KEEP_DAYS = 3.0  # how long the copy of a failed run is kept for a retry
LOCK = Path(".dvc", "tmp", "workspace.lock")
COPIES = Path(".dvc", "tmp", "exps")


@dataclass(frozen=True)
class Job:
    """The run that works there.

    Args:
        key: id of the flow run; a retry has the same id and continues in the same copy.
        name: its name in the UI, also used for the experiment.
        overrides: changes of params.yaml in the syntax of `dvc exp run -S`.
    """

    key: str
    name: str
    overrides: Sequence[str] = ()

    @property
    def experiment(self) -> str:
        """Name of the experiment: the run's name in git's alphabet, and the start of its id."""
        words = re.sub(r"[^A-Za-z0-9_-]+", "-", self.name).strip("-") or "flow"
        return f"{words}-{self.key[:8]}"


def enter() -> dict[str, str]:
    """Step `pull` of prefect.yaml: a worker changes to the checkout that contains its own
    `flows`.
    """
    folder = Path(__file__).resolve().parents[1]
    os.chdir(folder)
    return {"directory": str(folder)}


@contextlib.contextmanager
def workspace(root: Path, job: Job, say: Callable[[str], None]) -> Iterator[Path]:
    """Provide the folder that a run works in, locked until the run ends.

    With overrides the folder is a copy. If the run succeeds, it becomes an experiment of `root`
    (`dvc exp show`) and the copy is deleted. After a failure the copy stays for a retry of the same
    run; the first run with overrides after KEEP_DAYS deletes it.

    Raises:
        WorkspaceError: the copy cannot be made, or the experiment cannot be kept.
    """
    if not root.is_dir():
        raise WorkspaceError(f"{root}: no such folder")
    if not job.overrides:
        with hold_lock(root / LOCK, job.name, say):
            yield root
        return
    sweep(root)
    copy = root / COPIES / f"flow-{job.key}"
    inside = copy / find_prefix(root)
    with hold_lock(copy.with_suffix(".lock"), job.name, say):
        prepare(root, copy, job.overrides, say)
        yield inside
        if others := discard(inside):
            names = ", ".join(others)
            say(f"not in the experiment, because this run did not update them: {names}")
        keep(root, copy, job.experiment)
        say(
            f"kept as experiment {job.experiment}; see `dvc exp show` and `dvc exp apply "
            f"{job.experiment}`"
        )
        shutil.rmtree(copy)
    copy.with_suffix(".lock").unlink(missing_ok=True)


def prepare(root: Path, copy: Path, overrides: Sequence[str], say: Callable[[str], None]) -> None:
    """Make the copy, or take over the one that a failed run left for its retry."""
    if (mark := copy / ".git" / "prepared").exists():
        mark.touch()
        say(f"continuing in {copy}")
    else:
        make(root, copy, overrides)
        say(
            f"working in {copy}, a copy of {root} with its uncommitted changes and with "
            f"{' '.join(overrides)}"
        )


def make(root: Path, copy: Path, overrides: Sequence[str]) -> None:
    """Copy `root` with its commit, uncommitted changes of tracked files, cache and data, and apply
    overrides.

    Raises:
        WorkspaceError: there is no commit, or an override is invalid.
    """
    shutil.rmtree(copy, ignore_errors=True)
    inside = copy / find_prefix(root)
    commit = run_git(root, "rev-parse", "--verify", "HEAD").decode().strip()
    top = (
        run_git(root, "rev-parse", "--show-toplevel").decode(errors="surrogateescape").rstrip("\n")
    )
    run_git(
        root, "clone", "--quiet", "--local", "--no-reject-shallow", "--no-checkout", top, str(copy)
    )
    run_git(copy, "checkout", "--quiet", "--detach", commit)
    if changes := run_git(root, *DIFF, "HEAD"):
        run_git(copy, "apply", "--index", "--whitespace=nowarn", "-", stdin=changes)
    if not (inside / ".dvc").is_dir():
        shutil.rmtree(copy, ignore_errors=True)
        raise WorkspaceError(
            f"{root} is not committed in the repository {top}; commit it and start the run again"
        )
    done = run_program("override.py", str(root), *overrides, cwd=inside)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        shutil.rmtree(copy, ignore_errors=True)
        raise WorkspaceError(f"overrides {' '.join(overrides)}: {lines[-1]}")
    (copy / ".git" / "prepared").touch()


def keep(root: Path, copy: Path, name: str) -> None:
    """Save the result in `copy` as an experiment of `root`, based on the commit that it started
    from; its data is in the cache.

    Commits all files that git does not ignore to the ref where DVC looks for experiments.
    `dvc exp save` is not used: it adds files of stages that did not run to dvc.lock, and leaves out
    new reports.

    Raises:
        WorkspaceError: git fails.
    """
    commit = run_git(copy, "rev-parse", "HEAD").decode().strip()
    ref = f"refs/exps/{commit[:2]}/{commit[2:]}/{name}"
    run_git(copy, "add", "--all")
    run_git(
        copy,
        "-c",
        "user.name=captionseg",
        "-c",
        "user.email=captionseg@localhost",
        "commit",
        "--quiet",
        "--no-verify",
        "--no-gpg-sign",
        "--allow-empty",
        "--message",
        f"experiment {name}",
    )
    run_git(
        root, "fetch", "--quiet", "--no-write-fetch-head", "--no-tags", str(copy), f"+HEAD:{ref}"
    )


def discard(copy: Path) -> list[str]:
    """Delete reports of stages that are not up to date; return their paths.

    They came with the commit, and `dvc exp show` would show its numbers as the experiment's.

    Raises:
        WorkspaceError: DVC fails.
    """
    done = run_program("stale.py", cwd=copy)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["DVC failed"]
        raise WorkspaceError(f"reports in {copy}: {lines[-1]}")
    paths = [copy / path for path in json.loads(done.stdout.splitlines()[-1])]
    stale = [path for path in paths if path.exists()]
    for path in stale:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return [path.relative_to(copy).as_posix() for path in stale]


def run_program(name: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a file of this folder as a program, because DVC prints warnings, locks and changes the
    working directory.
    """
    # -P keeps this folder off the path, where its modules could shadow others.
    command = [sys.executable, "-P", "-W", "ignore", str(Path(__file__).with_name(name)), *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=clean_environment())


def sweep(root: Path, days: float = KEEP_DAYS) -> None:
    """Delete copies that have not been used for `days`."""
    for copy in (root / COPIES).glob("flow-*/"):
        lock = FileLock(copy.with_suffix(".lock"))
        with contextlib.suppress(Timeout, OSError), lock.acquire(timeout=0):
            mark = copy / ".git" / "prepared"
            if time.time() - (mark if mark.exists() else copy).stat().st_mtime > 86400 * days:
                shutil.rmtree(copy, ignore_errors=True)
                Path(lock.lock_file).unlink(missing_ok=True)
