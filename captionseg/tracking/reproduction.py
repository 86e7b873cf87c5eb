"""Finds the reproduction that a process belongs to, its store, and whether it is alive. Does not
import MLflow.

A reproduction is one `dvc repro`, one `dvc exp run`, or one run of the flow. All its stages are
children of one parent run, which is found by its key.
"""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

PARENT, KEY = "mlflow.parentRunId", "reproduction"
SQLITE, DATABASE = "sqlite:///", "mlflow.db"
WITHIN = "reproduction.run"  # tag of a recipe's run, which has no PARENT


@dataclass(frozen=True)
class Reproduction:
    """A reproduction.

    Args:
        key: equal for all its stages.
        name: its name in the UI.
    """

    key: str
    name: str


def find(environ: Mapping[str, str], ancestors: Iterable[psutil.Process]) -> Reproduction | None:
    """Find the reproduction of a process from its environment and its ancestors, nearest first.

    The flow sets CAPTIONSEG_FLOW_RUN, an experiment of DVC sets DVC_EXP_NAME, and a plain
    `dvc repro` is identified by its process. None if the process belongs to no reproduction.
    """
    if flow := environ.get("CAPTIONSEG_FLOW_RUN"):
        return Reproduction(f"flow-{flow}", f"flow {flow[:8]}")
    dvc = next((process for process in ancestors if _is_dvc(process)), None)
    if experiment := environ.get("DVC_EXP_NAME"):
        # `dvc exp run --force` gives another run the same name
        again = f"-{identify_process(dvc)}" if dvc else ""
        return Reproduction(f"exp-{experiment}{again}", f"exp {experiment}")
    return (
        Reproduction(f"dvc-{identify_process(dvc)}", f"dvc repro {_format_start(dvc)}")
        if dvc
        else None
    )


def _format_start(process: psutil.Process) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(process.create_time()))


def _is_dvc(process: psutil.Process) -> bool:
    try:
        words = process.cmdline()[:4]  # dvc repro | python dvc repro | python -m dvc repro
    except psutil.Error:
        return False
    return any(Path(word).name in ("dvc", "dvc.exe") for word in words)


def identify_process(process: psutil.Process) -> str:
    """Return host:pid:start, because pids are reused and a shared store has pids of several
    hosts.
    """
    return f"{socket.gethostname()}:{process.pid}:{process.create_time():.1f}"


def is_dead(owner: str) -> bool:
    """Return whether the process with this identity has ended; False if it is on another host."""
    try:
        host, pid, start = owner.rsplit(":", 2)
        if host != socket.gethostname():
            return False
        started = psutil.Process(int(pid)).create_time()
    except psutil.NoSuchProcess:
        return True
    except (psutil.Error, ValueError):
        return False
    # setting the clock shifts the boot time, and with it all start times
    return abs(started - float(start)) > 5


def is_foreign(owner: str) -> bool:
    """Return whether it is on another host, so that it is unknown whether it is alive."""
    host, *rest = owner.rsplit(":", 2)
    return len(rest) == 2 and host != socket.gethostname()


def find_home(root: Path) -> Path:
    """Return the repository whose store is used: `root`, or the original of a temporary copy.

    `dvc exp run --queue` and `--temp` work in copies in .dvc/tmp/exps/, which they delete.
    """
    parts = root.resolve().parts
    for i in range(len(parts) - 2):
        if parts[i : i + 3] == (".dvc", "tmp", "exps"):
            return Path(*parts[:i])
    return root.resolve()


def store_uri(root: Path, environ: Mapping[str, str] = os.environ) -> str:
    """Return the absolute URI of the store: MLFLOW_TRACKING_URI, or mlflow.db in the repository.

    A relative sqlite path is resolved from the repository, not from a temporary copy.

    Raises:
        ValueError: the path cannot be written as a URI.
    """
    folder, uri = find_home(root), environ.get("MLFLOW_TRACKING_URI", "").strip()
    if not uri and "?" in str(folder):
        raise ValueError(
            f"{folder}: MLflow cannot use a database in a folder with a `?` in its name; "
            "rename the folder, or set MLFLOW_TRACKING_URI"
        )
    if uri and not uri.startswith(SQLITE):
        return uri
    return f"{SQLITE}{folder / (uri.removeprefix(SQLITE) or DATABASE)}"


def find_database(uri: str) -> Path | None:
    """Return the file of a sqlite store; None for other stores."""
    return Path(uri.removeprefix(SQLITE).partition("?")[0]) if uri.startswith(SQLITE) else None


def collect_tags(root: Path, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return tags with the origin of code, data and run; unknown ones are left out.

    dvc.lock is read when the stage starts, so it covers the stages before this one.
    """
    lock, commit = root / "dvc.lock", _git(root, "rev-parse", "HEAD")
    # A run rewrites its lock and reports, so changes in them do not make the code dirty.
    dirty = _git(
        root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!dvc.lock", ":!reports"
    )
    tags = {
        "mlflow.source.git.commit": commit,
        "git.dirty": commit and ("true" if dirty else "false"),
        "dvc.lock": hashlib.md5(lock.read_bytes()).hexdigest() if lock.exists() else "",
        "dvc.exp": environ.get("DVC_EXP_NAME", ""),
        "flow.run": environ.get("CAPTIONSEG_FLOW_RUN", ""),
    }
    return {k: v for k, v in tags.items() if v}


def _git(root: Path, *words: str) -> str:
    # A git hook that starts a run sets GIT_DIR to its own repository.
    others = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    environ = {k: v for k, v in os.environ.items() if k not in others}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words],
            capture_output=True,
            text=True,
            timeout=20,
            env=environ,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
