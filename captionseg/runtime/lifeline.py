"""Ends processes whose owner is gone: stages follow their DVC, workers follow their stage.

A signal to only `dvc repro` (by a CI runner, the kernel when memory runs out, or a time-out of
subprocess.run) ends DVC but not its stage. Linux's PR_SET_PDEATHSIG follows the thread that started
a process, and ends at a shell in between, so a thread polls instead.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import parent_process

# seconds that a stage has to end its workers and remove temporary files
GRACE = 10.0
EVERY = 0.2  # seconds between polls
REAPERS = ("systemd", "init", "launchd", "tini", "dumb-init", "docker-init", "catatonit")
log = logging.getLogger(__name__)


def follow_dvc(environ: Mapping[str, str] = os.environ) -> None:
    """End this process as with SIGTERM when its DVC, or the shell in between, is gone.

    Does nothing without DVC: a process that a user starts by hand may outlive its shell. So may DVC
    itself.
    """
    # 0: outside of our container
    if (stage := environ.get("DVC_STAGE")) and (shell := os.getppid()):
        dvc = _dvc(shell, stage)
        _watch(lambda: dvc is None or os.getppid() != shell or not _lives(dvc), _end_well)


def follow_parent(pid: int) -> None:
    """End this process immediately when its parent with this pid is gone."""
    _watch(lambda: os.getppid() != pid, lambda: os._exit(1))


def follow_maker(*_: object) -> None:
    """End this process immediately when its multiprocessing parent is gone.

    Accepts the arguments of DataLoader's worker_init_fn.
    """
    if (maker := parent_process()) is not None:

        def follow() -> None:
            maker.join()
            os._exit(1)

        threading.Thread(target=follow, name="lifeline", daemon=True).start()


def _dvc(pid: int, stage: str) -> tuple[int, float] | None:
    """Find the ancestor that set DVC_STAGE; None if it is already gone."""
    import psutil

    try:
        ancestor = psutil.Process(pid)
        while (
            _variable(ancestor, "DVC_STAGE") == stage and (above := ancestor.parent()) is not None
        ):
            ancestor = above
        return (
            None
            if is_reaper(ancestor.pid, ancestor.name(), ancestor.cmdline())
            else (ancestor.pid, ancestor.create_time())
        )
    except psutil.AccessDenied:
        return pid, 0.0
    except psutil.NoSuchProcess:
        return None


def is_reaper(pid: int, name: str, words: Sequence[str]) -> bool:
    """Return whether a process adopts orphans; in a container DVC itself can have pid 1."""
    ours = any(os.path.basename(word).startswith(("dvc", "python")) for word in words)
    return (pid == 1 and not ours) or name in REAPERS


def _variable(process: object, name: str) -> str | None:
    """Return an environment variable of a process at its start; None without permission."""
    import psutil

    try:
        return process.environ().get(name)  # type: ignore[attr-defined]
    except psutil.AccessDenied:
        return None


def _lives(process: tuple[int, float]) -> bool:
    import psutil

    pid, created = process
    try:
        running = psutil.Process(pid)
        return (
            not created or running.create_time() == created
        ) and running.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _watch(is_gone: Callable[[], bool], end: Callable[[], None]) -> None:
    """Poll until `is_gone`, then call `end` once."""

    def look() -> None:
        while not is_gone():
            time.sleep(EVERY)
        end()

    threading.Thread(target=look, name="lifeline", daemon=True).start()


def _end_well() -> None:
    """End like SIGTERM; if the main thread does not handle the signal, exit anyway."""
    log.warning(
        "the process that started this stage has ended, so the stage ends too; the next run "
        "resumes from the finished parts"
    )
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(128 + signal.SIGTERM)
