"""Workers that are forks of this process: they have all that it has loaded, and start at once.

For long jobs that read the same and take less than a core each, such as the seeds of a recipe.
Linux only, and only where nothing is on a GPU: a fork has no access to it.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from captionseg.records import UserError
from captionseg.runtime.fan_out import collect
from captionseg.runtime.lifeline import follow_parent
from captionseg.runtime.processes import Processes, Worker, answer_jobs, unwind_on_signals
from captionseg.runtime.workers import Said

J = TypeVar("J")
R = TypeVar("R")
Say = Callable[..., None]
"""Sends what it is given to the `hear` of the process that waits."""

_is_fork = False


def can_fork() -> bool:
    """Return whether forks are safe here: on macOS its own libraries forbid them."""
    return sys.platform == "linux"


def is_fork() -> bool:
    """Return whether this process is a worker that was forked, and so not the only one that works
    on what the terminal shows.
    """
    return _is_fork


def spread_forks(
    work: Callable[[J, Say], R],
    jobs: Sequence[J],
    count: int,
    *,
    hear: Say,
    called: Callable[[J], str] = str,
) -> Iterator[R]:
    """Yield work(job, say) for every job, in order, by forks of this process.

    The first failure ends the others. A job whose process dies is begun again, up to ATTEMPTS
    times.

    Args:
        work: any function, with small results.
        jobs: jobs, small objects.
        count: number of processes. Each has as many threads as this one.
        hear: is called here with what jobs say.
        called: describes a job in errors.

    Raises:
        UserError: as raised by `work`, or if a job's process dies in all attempts.
    """
    return collect(Forks(work, min(count, len(jobs)), hear=hear, called=called), jobs)


class Forks(Processes):
    """Workers that are forks of this process. See Workers.

    Args:
        work: the function of a job.
        count: number of processes.
        hear: is called with what jobs say.
        called: describes a job, for messages.
    """

    def __init__(
        self, work: Callable[..., Any], count: int, *, hear: Say, called: Callable[[Any], str]
    ) -> None:
        self.function, self.heard = work, hear
        self._begin([None] * count, called)

    def hear(self, *values: Any) -> None:
        """See Processes."""
        self.heard(*values)

    def _start(self, gpu: str | None) -> Worker:
        fork = get_context("fork")
        ours, theirs = fork.Pipe()
        held = [*(worker.pipe for worker in self.workers), ours]
        process = fork.Process(
            target=serve, args=(theirs, held, os.getpid(), self.function), daemon=True
        )
        try:
            # From a new thread: OpenMP would wait forever for the helpers that this thread had.
            # Other threads of a stage only wait, so they hold no lock that a fork would miss.
            with ThreadPoolExecutor(1) as thread, warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                thread.submit(process.start).result()
        except OSError as error:
            raise UserError(
                f"another process cannot be started ({error.strerror}); set runtime.workers: 1, "
                "then run it again"
            ) from None
        theirs.close()
        return Worker(process, ours, gpu, told=True)


def serve(
    pipe: Connection, held: Sequence[Connection], parent: int, work: Callable[..., Any]
) -> None:
    """Run a fork: do jobs until the pipe is closed.

    Args:
        pipe: to the parent.
        held: ends of pipes that are the parent's: while a fork holds them, none of them closes.
        parent: process id of the parent, whose end ends this process.
        work: function of a job and of `say`.
    """
    global _is_fork
    _is_fork = True
    unwind_on_signals()
    follow_parent(parent)
    for other in held:
        other.close()

    def say(*values: Any) -> None:
        pipe.send(Said(values))

    def do(job: Any) -> Any:
        return work(job, say)

    with suppress(EOFError, OSError):
        answer_jobs(pipe, do)
