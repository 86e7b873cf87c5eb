"""Processes that outlive the command that starts them, and how they and all that came of them are found and ended.

Two traces of each: a file with its pid and when that began, since pids come back; and a word in its environment, which
all its descendants inherit, also those whose parents have died and who changed their process group.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

MARK = "CAPTIONSEG_SERVICES"  # folder:name of the daemon that a process comes of


@dataclass(frozen=True)
class Daemon:
    """A process that runs on its own.

    Args:
        name: also of its log and of its file.
        pid: its process, whose process group is its own.
        started: when that began, in seconds since 1970.
        url: where it answers; empty if it does not.
        log: its output.
    """

    name: str
    pid: int
    started: float
    url: str
    log: str

    @property
    def alive(self) -> bool:
        """Whether it runs: this process, not another one with its number."""
        try:
            process = psutil.Process(self.pid)
            return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - self.started) < 5
        except psutil.NoSuchProcess:
            return False


def launch(
    name: str, command: Sequence[str], *, folder: Path, cwd: Path, env: Mapping[str, str], url: str = ""
) -> Daemon:
    """Start `command` in a session of its own, its output at the end of folder/logs/NAME.log."""
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    (folder / "run").mkdir(exist_ok=True)
    path = folder / "logs" / f"{name}.log"
    with path.open("ab") as log:
        process = subprocess.Popen(command, cwd=cwd, env={**env, MARK: f"{folder}:{name}"}, stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip
    process.returncode = 0  # nobody waits for it: no warning that it still runs
    daemon = Daemon(name, process.pid, psutil.Process(process.pid).create_time(), url, str(path))
    _file(folder, name).write_text(json.dumps(asdict(daemon)))
    return daemon


def running(folder: Path) -> dict[str, Daemon]:
    """The daemons of `folder` that run, by name."""
    found = {}
    for path in sorted((folder / "run").glob("*.json")):
        with contextlib.suppress(ValueError, TypeError, OSError):  # half a file of a starter that was killed
            daemon = Daemon(**json.loads(path.read_text()))
            if daemon.alive:
                found[daemon.name] = daemon
    return found


def stop(folder: Path, last: Callable[[str], bool], grace: float = 15.0) -> int:
    """End all processes of `folder`: SIGTERM, and SIGKILL to those that are still there `grace` seconds later.

    Args:
        folder: as given to launch.
        last: whether a daemon, by its name, has to outlive the others: they report their end to it.
        grace: seconds.

    Returns:
        How many there were.
    """
    count = _end(lambda: [p for name, p in marked(folder) if not last(name)], grace)
    count += _end(lambda: [p for _, p in marked(folder)], grace)
    for path in (folder / "run").glob("*.json"):
        path.unlink(missing_ok=True)
    return count


def _end(those: Callable[[], list[psutil.Process]], grace: float) -> int:
    """End processes, also such as they start meanwhile; how many there were at first."""
    count = 0
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 10.0)):
        found = those()
        count = count or len(found)
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)
        until = time.monotonic() + seconds
        while found and time.monotonic() < until:
            time.sleep(0.1)
            found = those()
        if not found:
            break
    return count


def marked(folder: Path) -> list[tuple[str, psutil.Process]]:
    """Daemon by name, process: all that a daemon of `folder` started, or somebody that it started. Not this one."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            of, _, name = process.environ().get(MARK, "").rpartition(":")
            if of == str(folder) and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append((name, process))
    return found


def tail(daemon: Daemon, lines: int = 10) -> str:
    """The last lines of its log."""
    return "\n".join(Path(daemon.log).read_text(errors="replace").splitlines()[-lines:])


def _file(folder: Path, name: str) -> Path:
    return folder / "run" / f"{name}.json"
