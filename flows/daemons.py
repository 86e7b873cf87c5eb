"""Starts daemons, and finds and ends them with all their descendants.

Each leaves two traces: a file with its pid and start time, because pids are reused; and a variable
in its environment, which all its descendants inherit, even if their parents died or they changed
their process group. The variable identifies the folder by its inode, which stays the same when the
checkout is renamed, and differs for a copy.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

EXEC_TRIES, EXEC_WAIT, YOUNG = 20, 0.02, 10.0  # seconds, but the first
MARK = "CAPTIONSEG_SERVICES"  # describe_place(folder):name:folder of a process's daemon
URL = "CAPTIONSEG_SERVICES_URL"  # address of that daemon
FIRST = "CAPTIONSEG_SERVICES_PID"  # pid of that daemon


@dataclass(frozen=True)
class Daemon:
    """A daemon process.

    Args:
        name: its name, also that of its log and its file.
        pid: its pid; it leads its own process group.
        started: its start time, in seconds since 1970.
        url: its address; empty if it is not a server.
        log: path of its output.
        folder: folder where it was started; differs from the current one after a rename.
    """

    name: str
    pid: int
    started: float
    url: str
    log: str
    folder: str = ""

    @property
    def alive(self) -> bool:
        """Whether it runs, as this process and not another one with its pid."""
        try:
            process = psutil.Process(self.pid)
            return (
                process.status() != psutil.STATUS_ZOMBIE
                and abs(process.create_time() - self.started) < 5
            )
        except psutil.NoSuchProcess:
            return False


def launch(
    name: str,
    command: Sequence[str],
    *,
    folder: Path,
    cwd: Path,
    env: Mapping[str, str],
    url: str = "",
) -> Daemon:
    """Start `command` in a new session, with its output appended to folder/logs/NAME.log."""
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    (folder / "run").mkdir(exist_ok=True)
    ours = {MARK: f"{describe_place(folder)}:{name}:{folder}", URL: url}
    with _log(folder, name).open("ab") as log:
        process = subprocess.Popen(
            ["/bin/sh", "-c", f'export {FIRST}=$$; exec "$@"', "sh", *command],
            cwd=cwd,
            env={**env, **ours},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    process.returncode = 0  # it is not waited for, so no warning that it still runs
    begun = psutil.Process(
        process.pid
    ).create_time()  # its environment is not to be read in the midst of an exec
    daemon = Daemon(name, process.pid, begun, url, str(_log(folder, name)), str(folder))
    path = _file(folder, name)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(asdict(daemon)), encoding="utf-8")
    part.replace(path)
    return daemon


def describe_place(folder: Path) -> str:
    """Return the identifier of `folder` in MARK."""
    status = folder.absolute().parent.stat()
    return f"{status.st_dev:x}-{status.st_ino:x}-{folder.name}"


def list_running(folder: Path) -> dict[str, Daemon]:
    """Return the running daemons of `folder` by name, including those without a file."""
    ours: dict[int, str] = {process.pid: name for name, process in list_marked(folder)}
    daemons = {
        name: daemon
        for name, daemon in list_known(folder).items()
        if ours.get(daemon.pid) == name or (_hidden(daemon.pid) and daemon.alive)
    }
    for pid, name in ours.items():
        with contextlib.suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            environ = _read_environ(process)
            if name not in daemons and environ.get(FIRST) == str(pid):
                daemons[name] = Daemon(
                    name,
                    pid,
                    process.create_time(),
                    environ[URL],
                    str(_log(folder, name)),
                    environ[MARK].split(":", 2)[2],
                )
    return daemons


def list_known(folder: Path) -> dict[str, Daemon]:
    """Return the daemons with a file in `folder` by name; they may have ended."""
    daemons = {}
    for path in sorted((folder / "run").glob("*.json")):
        with contextlib.suppress(ValueError, TypeError, OSError):  # not our file
            daemon = Daemon(**json.loads(path.read_text(encoding="utf-8")))
            daemons[daemon.name] = dataclasses.replace(daemon, log=str(_log(folder, daemon.name)))
    return daemons


def _hidden(pid: int) -> bool:
    """Return whether a process belongs to another user, so that its environment is unreadable."""
    try:
        psutil.Process(pid).environ()
    except psutil.NoSuchProcess:
        return False
    except (psutil.Error, OSError):
        return True
    return False


def stop(folder: Path, last: Callable[[str], bool], grace: float = 15.0) -> int:
    """End all processes of `folder`: SIGTERM, then SIGKILL for those that still run after `grace`
    seconds.

    Args:
        folder: the folder given to `launch`.
        last: whether a daemon, by name, must outlive the others, which report their end to it.
        grace: seconds.

    Returns:
        the number of processes.
    """
    count = end(lambda: [p for name, p in list_marked(folder) if not last(name)], grace)
    count += end(lambda: [p for _, p in list_marked(folder)], grace)
    left = list_running(folder)
    for path in (folder / "run").glob("*.json"):
        if path.stem not in left:
            path.unlink(missing_ok=True)
    return count


def end(those: Callable[[], list[psutil.Process]], grace: float) -> int:
    """End processes and those that they start meanwhile; return their initial number."""
    count = 0
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 10.0)):
        processes = those()
        count = count or len(processes)
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)
                # a suspended process handles the other signal only after this
                process.send_signal(signal.SIGCONT)
        until = time.monotonic() + seconds
        while processes and time.monotonic() < until:
            time.sleep(0.1)
            processes = those()
        if not processes:
            break
    return count


def list_marked(folder: Path) -> list[tuple[str, psutil.Process]]:
    """Return (name of the daemon, process) for all descendants of daemons of `folder`, except the
    current process.
    """
    marked, here = [], describe_place(folder)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            of, _, rest = _read_environ(process).get(MARK, "").partition(":")
            if (
                of == here
                and process.pid != os.getpid()
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                marked.append((rest.partition(":")[0], process))
    return marked


def _read_environ(process: psutil.Process) -> dict[str, str]:
    """Return the environment of a process, waiting for a young one that is in the midst of an exec:
    it has none for a moment.
    """
    for _ in range(EXEC_TRIES):
        environ = process.environ()
        if environ or process.status() == psutil.STATUS_ZOMBIE:
            break
        if time.time() - process.create_time() > YOUNG:  # it belongs to the kernel
            break
        time.sleep(EXEC_WAIT)
    return environ


def read_tail(daemon: Daemon, lines: int = 10) -> str:
    """Return the last lines of a daemon's log."""
    return "\n".join(
        Path(daemon.log).read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    )


def _log(folder: Path, name: str) -> Path:
    return folder / "logs" / f"{name}.log"


def _file(folder: Path, name: str) -> Path:
    return folder / "run" / f"{name}.json"
