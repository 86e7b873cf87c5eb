"""Processes that outlive the command that starts them, and how they and all that came of them are
found and ended.

Two traces of each: a file with its pid and when that began, since pids come back; and a word in its
environment, which all its descendants inherit, also those whose parents have died and who changed
their process group. The word names the folder by its number in the file system: it stays the same
where the checkout is renamed, and a copy has another.
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

MARK = "CAPTIONSEG_SERVICES"  # place(folder):name:folder of the daemon that a process comes of
URL = "CAPTIONSEG_SERVICES_URL"  # where that daemon answers
FIRST = "CAPTIONSEG_SERVICES_PID"  # of that daemon


@dataclass(frozen=True)
class Daemon:
    """A process that runs on its own.

    Args:
        name: also of its log and of its file.
        pid: its process, whose process group is its own.
        started: when that began, in seconds since 1970.
        url: where it answers; empty if it does not.
        log: its output.
        folder: where it was started; another one after the checkout was renamed.
    """

    name: str
    pid: int
    started: float
    url: str
    log: str
    folder: str = ""

    @property
    def alive(self) -> bool:
        """Whether it runs: this process, not another one with its number."""
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
    """Start `command` in a session of its own, its output at the end of folder/logs/NAME.log."""
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
    process.returncode = 0  # nobody waits for it: no warning that it still runs
    begun = psutil.Process(
        process.pid
    ).create_time()  # its environment is not to be read in the midst of an exec
    daemon = Daemon(name, process.pid, begun, url, str(_log(folder, name)), str(folder))
    path = _file(folder, name)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(asdict(daemon)))
    part.replace(path)
    return daemon


def describe_place(folder: Path) -> str:
    """What `folder` is called in MARK."""
    status = folder.absolute().parent.stat()
    return f"{status.st_dev:x}-{status.st_ino:x}-{folder.name}"


def list_running(folder: Path) -> dict[str, Daemon]:
    """The daemons of `folder` that run, by name; also those whose file is gone."""
    ours: dict[int, str] = {process.pid: name for name, process in list_marked(folder)}
    daemons = {
        name: daemon
        for name, daemon in list_known(folder).items()
        if ours.get(daemon.pid) == name or (_hidden(daemon.pid) and daemon.alive)
    }
    for pid, name in ours.items():
        with contextlib.suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            environ = process.environ()
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
    """The daemons that `folder` has files of, by name, though they may have ended."""
    daemons = {}
    for path in sorted((folder / "run").glob("*.json")):
        with contextlib.suppress(ValueError, TypeError, OSError):  # no file of ours
            daemon = Daemon(**json.loads(path.read_text()))
            daemons[daemon.name] = dataclasses.replace(daemon, log=str(_log(folder, daemon.name)))
    return daemons


def _hidden(pid: int) -> bool:
    """Whether a process is another user's, who does not show its environment."""
    try:
        psutil.Process(pid).environ()
    except psutil.NoSuchProcess:
        return False
    except (psutil.Error, OSError):
        return True
    return False


def stop(folder: Path, last: Callable[[str], bool], grace: float = 15.0) -> int:
    """End all processes of `folder`: SIGTERM, and SIGKILL to those that are still there `grace`
    seconds later.

    Args:
        folder: as given to launch.
        last: whether a daemon, by its name, has to outlive the others: they report their end to it.
        grace: seconds.

    Returns:
        How many there were.
    """
    count = end(lambda: [p for name, p in list_marked(folder) if not last(name)], grace)
    count += end(lambda: [p for _, p in list_marked(folder)], grace)
    left = list_running(folder)
    for path in (folder / "run").glob("*.json"):
        if path.stem not in left:
            path.unlink(missing_ok=True)
    return count


def end(those: Callable[[], list[psutil.Process]], grace: float) -> int:
    """End processes, also such as they start meanwhile; how many there were at first."""
    count = 0
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 10.0)):
        processes = those()
        count = count or len(processes)
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)
                # one that is held hears the other signal only then
                process.send_signal(signal.SIGCONT)
        until = time.monotonic() + seconds
        while processes and time.monotonic() < until:
            time.sleep(0.1)
            processes = those()
        if not processes:
            break
    return count


def list_marked(folder: Path) -> list[tuple[str, psutil.Process]]:
    """Daemon by name, process: all that a daemon of `folder` started, or somebody that it started.
    Not this one.
    """
    marked, here = [], describe_place(folder)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            of, _, rest = process.environ().get(MARK, "").partition(":")
            if (
                of == here
                and process.pid != os.getpid()
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                marked.append((rest.partition(":")[0], process))
    return marked


def read_tail(daemon: Daemon, lines: int = 10) -> str:
    """The last lines of its log."""
    return "\n".join(Path(daemon.log).read_text(errors="replace").splitlines()[-lines:])


def _log(folder: Path, name: str) -> Path:
    return folder / "logs" / f"{name}.log"


def _file(folder: Path, name: str) -> Path:
    return folder / "run" / f"{name}.json"
