"""No process outlives the one that it works for: a stage its DVC, workers their stage.

A signal to `dvc repro` alone (by a CI runner, by the kernel when memory ran out, by a time-out of
subprocess.run) ends DVC and not what it runs. The kernel's own means, PR_SET_PDEATHSIG of Linux, is
about the thread that started a process and goes no further than a shell in between, so a thread
looks.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import parent_process

# seconds in which a stage that was told to end has to take its workers and temporary files away
GRACE = 10.0
EVERY = 0.2  # seconds between two looks
REAPERS = ("systemd", "init", "launchd", "tini", "dumb-init", "docker-init", "catatonit")
log = logging.getLogger(__name__)


def follow_dvc(environ: Mapping[str, str] = os.environ) -> None:
    """End this process, as SIGTERM does, when the DVC that runs it is gone, or the shell in
    between.

    Without DVC nothing is done: what a user starts by hand may outlive the shell that it came from.
    So may DVC itself; whose child that is does not matter.
    """
    # 0: outside of our container
    if (stage := environ.get("DVC_STAGE")) and (shell := os.getppid()):
        dvc = _dvc(shell, stage)
        _watch(lambda: dvc is None or os.getppid() != shell or not _lives(dvc), _end_well)


def follow_parent(pid: int) -> None:
    """End this process at once when its parent, which has this pid, is gone."""
    _watch(lambda: os.getppid() != pid, lambda: os._exit(1))


def follow_maker(*_: object) -> None:
    """End this process at once when the one that made it, by multiprocessing, is gone.

    Takes whatever DataLoader gives its worker_init_fn.
    """
    if (maker := parent_process()) is not None:

        def follow() -> None:
            maker.join()
            os._exit(1)

        threading.Thread(target=follow, name="lifeline", daemon=True).start()


def _dvc(pid: int, stage: str) -> tuple[int, float] | None:
    """The process that has set DVC_STAGE, from the parent on upwards; None where that is gone
    already.
    """
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
    """Is it what the system gives orphans to? DVC may have that place too, in a container."""
    ours = any(os.path.basename(word).startswith(("dvc", "python")) for word in words)
    return (pid == 1 and not ours) or name in REAPERS


def _variable(process: object, name: str) -> str | None:
    """A variable of a process as it was started; None where nobody may see it."""
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
    """Look at once, then for ever; `end` is called at most once."""

    def look() -> None:
        while not is_gone():
            time.sleep(EVERY)
        end()

    threading.Thread(target=look, name="lifeline", daemon=True).start()


def _end_well() -> None:
    """What a signal would do; and where the main thread does not hear it, the end all the same."""
    log.warning(
        "the process that started this stage has ended, so the stage ends too; the next run "
        "resumes from the finished parts"
    )
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(128 + signal.SIGTERM)
