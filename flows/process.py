"""Runs a command in its own process group, passes on its output line by line, and leaves no
processes behind.

A signal only to `dvc repro` would leave its stage running for a moment, and other programs forever.
If this process is killed, the command's group ends too: its leader is a guard that watches its
parent.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

GRACE = 10.0  # seconds between SIGTERM and SIGKILL

# Runs argv[2:] and exits like it; if its parent (argv[1]) dies, it ends its process group, itself
# last.
GUARD = f"""
import os, signal, subprocess, sys, time
parent, ended = int(sys.argv[1]), signal.signal(signal.SIGTERM, lambda *_: None)
try:
    command = subprocess.Popen(sys.argv[2:], restore_signals=True)
except OSError as error:
    sys.exit(f"{{sys.argv[2]}}: {{error.strerror}}")
while True:
    try:
        code = command.wait(0.5)
        break
    except subprocess.TimeoutExpired:
        pass
    if os.getppid() != parent:
        os.killpg(0, signal.SIGTERM)
        try:
            command.wait({GRACE})
        finally:
            os.killpg(0, signal.SIGKILL)
if code < 0:
    signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


class TooLate(Exception):
    """The command exceeded its time limit."""


def run(
    command: Sequence[str],
    say: Callable[[str], None],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout: float | None = None,
) -> int:
    """Run `command` to its end and return its exit code.

    Whatever ends the wait (the command, its time-out, or an exception, such as that of a cancelled
    flow) ends the whole process group.

    Args:
        command: program and arguments.
        say: called with each line of output (stdout and stderr together, without line ends).
        cwd: folder to run in.
        env: the complete environment.
        timeout: seconds, or None. Prefect's own time-out cannot interrupt a reading thread.

    Raises:
        TooLate: it still ran after `timeout` seconds, and was ended.
    """
    process = start(command, cwd, env)
    assert process.stdout is not None
    late = threading.Event()
    watcher = threading.Thread(target=watch, args=(process, timeout, late), daemon=True)
    watcher.start()
    try:
        for line in process.stdout:
            say(line.rstrip())
    except BaseException:
        end_group(process)
        raise
    finally:
        watcher.join()
        process.stdout.close()
    if late.is_set():
        raise TooLate(f"timed out after {timeout:g} s")
    return process.wait()


def watch(process: subprocess.Popen[str], timeout: float | None, late: threading.Event) -> None:
    """Wait for a process, set `late` if that takes too long, and end its whole group."""
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        late.set()
    # also ends processes that the command left, which would keep the pipe open
    end_group(process)


def start(command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start the command in its own process group, with stdout and stderr in one text pipe."""
    guarded = [sys.executable, "-I", "-S", "-c", GUARD, str(os.getpid()), *command]
    return subprocess.Popen(
        guarded,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )


def end_group(process: subprocess.Popen) -> None:
    """End all processes of a group: SIGTERM, then SIGKILL for those that still run after GRACE
    seconds.
    """
    for number, seconds in ((signal.SIGTERM, GRACE), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if not list_members(process.pid):
                process.wait()  # reap it
                return
            time.sleep(0.02)


def list_members(group: int) -> list[int]:
    """Return the pids of a process group without zombies."""
    pids = []
    for process in psutil.process_iter(["status"]):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                pids.append(process.pid)
    return pids
