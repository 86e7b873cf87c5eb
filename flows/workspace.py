"""Where a run works: in the repository, one run at a time, or in a copy of its own that ends as an
experiment of DVC.

A run that changes nothing in params.yaml brings the repository itself up to date; others that want
the same wait for it. A run with overrides works in a copy below .dvc/tmp/exps, as `dvc exp run
--temp` does, on the same cache.
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

KEEP_DAYS = 3.0  # a copy whose run did not end well waits so long for a retry of that run
LOCK = Path(".dvc", "tmp", "workspace.lock")
COPIES = Path(".dvc", "tmp", "exps")


# Whatever the user's own configuration makes of a diff: `git apply` must understand it.
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
# Nor hooks, nor what runs on behind our back, in a copy that is deleted soon.
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
# What a hook, or a shell within one, would lead git elsewhere by.
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
    """There is no place to work in: no commit, an override that DVC does not understand.
    One line.
    """


@dataclass(frozen=True)
class Job:
    """Which run works there.

    Args:
        key: id of the flow run: a retry has the same, and goes on in the same copy.
        name: how people see it; the experiment is called so.
        overrides: changes of params.yaml in the syntax of `dvc exp run -S`.
    """

    key: str
    name: str
    overrides: Sequence[str] = ()

    @property
    def experiment(self) -> str:
        """Name of the experiment: the run's, as git allows it, and the start of its id."""
        words = re.sub(r"[^A-Za-z0-9_-]+", "-", self.name).strip("-") or "flow"
        return f"{words}-{self.key[:8]}"


def enter() -> dict[str, str]:
    """Step `pull` of prefect.yaml: a worker goes to the checkout that its own `flows` is in; no
    path is named.
    """
    folder = Path(__file__).resolve().parents[1]
    os.chdir(folder)
    return {"directory": str(folder)}


@contextlib.contextmanager
def workspace(root: Path, job: Job, say: Callable[[str], None]) -> Iterator[Path]:
    """The folder that a run works in, to itself until it ends.

    With overrides the folder is a copy. A run that ends well leaves it as an experiment of `root`
    (`dvc exp show`) and the copy is deleted. After a failure it stays for a retry of the same run,
    and is deleted by the first run with overrides that starts KEEP_DAYS later.

    Raises:
        WorkspaceError: the copy cannot be made, or the experiment not be kept.
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
            say(f"going on in {copy}")
        else:
            make(root, copy, job.overrides)
            say(
                f"working in {copy}: commit and changes of tracked files of {root}, with "
                f"{' '.join(job.overrides)}"
            )
        yield inside
        if others := discard(inside):
            names = ", ".join(others)
            say(f"left out of the experiment, since this run did not make them: {names}")
        keep(root, copy, job.experiment)
        say(
            f"kept as experiment {job.experiment}: `dvc exp show`, `dvc exp apply {job.experiment}`"
        )
        shutil.rmtree(copy)
    copy.with_suffix(".lock").unlink(missing_ok=True)


@contextlib.contextmanager
def hold_lock(
    path: Path, who: str, say: Callable[[str], None], patience: float = 1.0, *, what: str = ""
) -> Iterator[None]:
    """A lock that at most one process has, and no dead one; waits for it, and says who has it.

    Args:
        path: the lock's file; who has it stands beside it.
        who: what others are told.
        say: told once for each holder that is waited for.
        patience: seconds between two looks at who has it.
        what: that is locked; by default the repository.
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
    """`root` once more: its commit, the uncommitted changes of tracked files, its cache, its data,
    and overrides.

    Raises:
        WorkspaceError: no commit, or an override that is wrong.
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
            f"{root} is no part of the repository {top}: commit it, then start the run again"
        )
    done = run_program("override.py", str(root), *overrides, cwd=inside)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        shutil.rmtree(copy, ignore_errors=True)
        raise WorkspaceError(f"overrides {' '.join(overrides)}: {lines[-1]}")
    (copy / ".git" / "prepared").touch()


def keep(root: Path, copy: Path, name: str) -> None:
    """What was made in `copy` as an experiment of `root`, beside the commit that it began at; its
    data is in the cache.

    A commit of all that git does not ignore, where DVC looks for experiments. Not `dvc exp save`:
    that enters the files of stages which did not run in dvc.lock, as if they had, and leaves new
    reports out.

    Raises:
        WorkspaceError: git would not.
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
    """Delete reports of stages that are not up to date; their paths.

    They came with the commit: kept, main's numbers would be this experiment's in `dvc exp show`.

    Raises:
        WorkspaceError: DVC cannot tell which.
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
    """Run a file of this folder as a program of its own: DVC warns, locks and changes folders."""
    # -P: this folder stays off the path, where modules would have the names of others.
    command = [sys.executable, "-P", "-W", "ignore", str(Path(__file__).with_name(name)), *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=clean_environment())


def sweep(root: Path, days: float = KEEP_DAYS) -> None:
    """Delete copies that nobody works in and nobody has for `days`."""
    for copy in (root / COPIES).glob("flow-*/"):
        lock = FileLock(copy.with_suffix(".lock"))
        with contextlib.suppress(Timeout, OSError), lock.acquire(timeout=0):
            mark = copy / ".git" / "prepared"
            if time.time() - (mark if mark.exists() else copy).stat().st_mtime > 86400 * days:
                shutil.rmtree(copy, ignore_errors=True)
                Path(lock.lock_file).unlink(missing_ok=True)


def run_git(folder: Path, *words: str, stdin: bytes | None = None) -> bytes:
    """What a git command prints.

    Raises:
        WorkspaceError: it failed; with the last line that it said.
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
    """Where `root` is within its git repository, which may hold more than this project.

    Raises:
        WorkspaceError: it is in none.
    """
    try:
        return Path(
            run_git(root, "rev-parse", "--show-prefix")
            .decode(errors="surrogateescape")
            .rstrip("\n")
        )
    except WorkspaceError as error:
        raise WorkspaceError(
            f"{error}; a run with overrides works in a copy that git makes: `git init && git add "
            "-A && git commit -m start`, or change params.yaml and run without overrides"
        ) from None


def clean_environment() -> dict[str, str]:
    """Ours, less what would lead git elsewhere."""
    return {**{k: v for k, v in os.environ.items() if k not in LEADS}, "DVC_NO_ANALYTICS": "1"}
