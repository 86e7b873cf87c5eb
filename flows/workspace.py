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

KEEP_DAYS = 3.0  # how long the copy of a failed run is kept for a retry
LOCK = Path(".dvc", "tmp", "workspace.lock")
COPIES = Path(".dvc", "tmp", "exps")


# Overrides the user's configuration of diffs, so that `git apply` understands them.
DIFF = (
    "diff",
    "--binary",
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--no-relative",
    "--submodule=short",
    "--unified=3",
    "--inter-hunk-context=0",
    "--src-prefix=a/",
    "--dst-prefix=b/",
)
# No hooks and no background tasks, because the copy is deleted soon.
PLAIN = [
    word
    for setting in (
        "core.hooksPath=/dev/null",
        "core.fsmonitor=false",
        "gc.auto=0",
        "maintenance.auto=false",
        "protocol.file.allow=always",
        "commit.gpgSign=false",
        "core.quotePath=false",
    )
    for word in ("-c", setting)
]
# Set in hooks; they would make git use another repository.
LEADS = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_PREFIX",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_EXTERNAL_DIFF",
    "GIT_DIFF_OPTS",
)


class WorkspaceError(Exception):
    """The workspace cannot be made, for example without a commit; one line."""


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
        if (mark := copy / ".git" / "prepared").exists():
            mark.touch()
            say(f"continuing in {copy}")
        else:
            make(root, copy, job.overrides)
            say(
                f"working in {copy}, a copy of {root} with its uncommitted changes and with "
                f"{' '.join(job.overrides)}"
            )
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


@contextlib.contextmanager
def hold_lock(
    path: Path, who: str, say: Callable[[str], None], patience: float = 1.0, *, what: str = ""
) -> Iterator[None]:
    """Hold a lock, which is released if its owner dies; wait for it, and print who has it.

    Args:
        path: file of the lock; a file next to it names the holder.
        who: description of this process for others.
        say: called once per holder that is waited for.
        patience: seconds between checks of the holder.
        what: what is locked; by default the repository.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock, note, announced = FileLock(path), path.with_suffix(".holder"), ""
    while True:
        try:
            lock.acquire(timeout=patience if announced else 0, poll_interval=0.2)
            break
        except Timeout:
            holder = _read(note)
            if holder != announced:
                say(f"waiting: {what or path.parents[2]} is in use by {holder}")
                announced = holder
    try:
        note.write_text(
            json.dumps(f"{who} (pid {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S')})")
        )
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def _read(note: Path) -> str:
    try:
        return json.loads(note.read_text())
    except (OSError, ValueError):
        return "another run"


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


def run_git(folder: Path, *words: str, stdin: bytes | None = None) -> bytes:
    """Run a git command and return its output.

    Raises:
        WorkspaceError: it failed; with its error message.
    """
    try:
        done = subprocess.run(
            ["git", *PLAIN, *words],
            cwd=folder,
            capture_output=True,
            input=stdin,
            env=clean_environment(),
        )
    except OSError as error:
        raise WorkspaceError(f"git {words[0]} in {folder}: {error.strerror}") from None
    if done.returncode:
        reason = (
            " ".join(done.stderr.decode(errors="replace").split())[-400:]
            or f"exit code {done.returncode}"
        )
        raise WorkspaceError(f"git {words[0]} in {folder}: {reason}")
    return done.stdout


def find_prefix(root: Path) -> Path:
    """Return the path of `root` within its git repository, which may contain more than this
    project.

    Raises:
        WorkspaceError: it is in no repository.
    """
    try:
        return Path(
            run_git(root, "rev-parse", "--show-prefix")
            .decode(errors="surrogateescape")
            .rstrip("\n")
        )
    except WorkspaceError as error:
        raise WorkspaceError(
            f"{error}; a run with overrides needs git to copy the checkout: run `git init && git "
            "add -A && git commit -m start`, or change params.yaml and run without overrides"
        ) from None


def clean_environment() -> dict[str, str]:
    """Return our environment without variables that make git use another repository."""
    return {**{k: v for k, v in os.environ.items() if k not in LEADS}, "DVC_NO_ANALYTICS": "1"}
