"""A checkout of its own on drawn shapes, what runs in it, and the bytes that a reproduction
leaves."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import yaml

ROOT = Path(__file__).parents[2]
MADE = ("data", "models", "reports")
VARIES = ("reports/timings/", "reports/validation/")
"""What differs from run to run: seconds, and the pages of Great Expectations."""
RECIPE = "cocu-mil"
ENVIRONMENT = {
    "DVC_NO_ANALYTICS": "1",
    "CAPTIONSEG_TRACKING": "off",
    "OMP_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
}


def make(folder: Path, *, settings: dict[str, dict[str, Any]] | None = None) -> Path:
    """The tracked files of this checkout, as they lie here, as a repository of its own.

    Args:
        folder: is made.
        settings: sections of params.yaml -> values that replace those for small runs.
    """
    copy_tracked(folder)
    path = folder / "params.yaml"
    params = yaml.safe_load(path.read_text())
    params["runtime"] |= {"workers": 2, "checkpoint_steps": 2}
    params["download"] |= {"source": "shapes", "shard_size": 20}
    params["index"] |= {"neighbours": 32, "dense_width": 64, "dense_sample": 40}
    params["curate"] |= {
        "vocabulary": {"minimum": 3},
        "rules": ["nouns", "cocu", "cocu_calibrated"],
    }
    params["curate"]["cocu"]["neighbours"] = params["curate"]["cocu_calibrated"]["neighbours"] = 32
    params["pretrain"] |= {"seeds": [0], "epochs": 2, "batch": 32}
    params["recipes"], params["about"] = {RECIPE: params["recipes"][RECIPE]}, {}
    params |= {"gate": {}, "validate": {"min_with_concepts": 0.5}}
    params["evaluate"] = {k: v for k, v in params["evaluate"].items() if k != "also"}
    for section, values in (settings or {}).items():
        params[section] |= values
    make_repository(folder, params)
    return folder


def make_repository(folder: Path, params: dict[str, Any]) -> None:
    """Make copied files a repository with one commit.

    Args:
        folder: with the files.
        params: of it, in place of its params.yaml.
    """
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    commit(folder)


def copy_tracked(folder: Path) -> None:
    """Copy what git tracks, as it is in the working tree, without what stages write and tests."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, names.split("\0")):
        made = name.startswith("reports/") and Path(name).name != "README.md"
        if not made and not name.startswith(("dvc.lock", "tests/")) and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def commit(folder: Path) -> None:
    """Commit all that is in a repository."""
    ours = ("-c", "user.name=t", "-c", "user.email=t@t")
    for words in (("add", "-A"), (*ours, "commit", "-qm", "t")):
        subprocess.run(["git", *words], cwd=folder, check=True)


def environment() -> dict[str, str]:
    """Of DVC and what it runs: the interpreter of this process, nothing recorded, one thread."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "RANK", "MLFLOW_"))}
    return (
        kept
        | ENVIRONMENT
        | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    )


def start(root: Path, *words: str) -> subprocess.Popen[bytes]:
    """`dvc WORDS`, what it and its stages say in ROOT/.work.log, a file: a pipe would end orphans
    for us.
    """
    with (root / ".work.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "dvc", *words],
            cwd=root,
            env=environment(),
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


def reproduce(root: Path, *words: str) -> float:
    """`dvc repro WORDS` to its end; seconds that it took.

    Raises:
        RuntimeError: if it fails; with the end of what was said.
    """
    begin = time.monotonic()
    if code := start(root, "repro", *words).wait():
        said = (root / ".work.log").read_text(errors="replace")
        raise RuntimeError(f"dvc repro {' '.join(words)} ended with {code}:\n{said[-4000:]}")
    return time.monotonic() - begin


def wait_for(true: Callable[[], Any], *, seconds: float, every: float = 0.01) -> Any:
    """The first value of `true()` that is true; False after some seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := true():
            return found
        time.sleep(every)
    return False


def tree(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """A process and all below it that are alive."""
    with contextlib.suppress(psutil.NoSuchProcess):
        top = psutil.Process(process.pid)
        return [p for p in [top, *top.children(recursive=True)] if alive(p)]
    return []


def alive(process: psutil.Process) -> bool:
    """Is it still running, and no zombie?"""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def inside(root: Path) -> Iterator[psutil.Process]:
    """Processes that work in a folder, whoever their parent is by now."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if Path(process.cwd()) == root and alive(process):
                yield process


def kind(process: psutil.Process) -> str:
    """What a process is, in a word: dvc, stage, worker, writer, shell, other."""
    with contextlib.suppress(psutil.NoSuchProcess):
        words = process.cmdline()
        for word, name in (
            ("multiprocessing.", "worker"),
            ("stages.run", "stage"),
            ("tracking.writer", "writer"),
        ):
            if any(word in w for w in words):
                return "shell" if name == "stage" and "-c" in words[:4] else name
        if "dvc" in words:
            return "dvc"
    return "other"


def kill(process: psutil.Process, number: int = signal.SIGKILL) -> None:
    """Send a signal to one process alone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def digests(root: Path) -> dict[str, str]:
    """sha256 of every file that stages have written, but for what varies; kept files of git left
    out.
    """
    found = {}
    for top in MADE:
        for path in sorted((root / top).rglob("*")):
            name = path.relative_to(root).as_posix()
            if (
                path.is_file()
                and not name.startswith(VARIES)
                and path.name not in ("README.md", ".gitignore")
            ):
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def differences(first: dict[str, str], second: dict[str, str]) -> list[str]:
    """Names of files that only one has, or that differ."""
    return sorted(
        name for name in first.keys() | second.keys() if first.get(name) != second.get(name)
    )


def forget(root: Path, stage: str) -> None:
    """As if this stage had never run: its outputs, its entry in dvc.lock, DVC's cache of runs, its
    work.
    """
    lock = root / "dvc.lock"
    held = yaml.safe_load(lock.read_text())
    for output in held["stages"].pop(stage)["outs"]:
        path = root / output["path"]
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    lock.write_text(yaml.safe_dump(held, sort_keys=False))
    for folder in (".dvc/cache/runs", ".work"):
        shutil.rmtree(root / folder, ignore_errors=True)
