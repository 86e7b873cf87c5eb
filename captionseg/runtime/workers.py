"""What workers are to the fan-out, and what all of them have in common."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

from captionseg.records import UserError

J = TypeVar("J")
R = TypeVar("R")
ATTEMPTS = 3  # at a job whose worker dies


class Answer(NamedTuple):
    """What became of the job of that number: its result or, where not `well`, the exception."""

    number: int
    well: bool
    value: Any


class Workers(Protocol):
    """Processes that take jobs one at a time and answer in any order."""

    def room(self, busy: int) -> bool:
        """Is one more job to be sent while `busy` are out?"""
        ...

    def send(self, number: int, job: Any) -> None:
        """Give a job to a worker."""
        ...

    def receive(self) -> Answer:
        """Wait for the next answer.

        Raises:
            UserError: if workers die of one job again and again.
        """
        ...

    def close(self) -> None:
        """End all workers, and what they are at."""
        ...


def limit_threads(threads: int) -> None:
    """So many threads for the numerical libraries of this process, those that are not loaded yet
    too.
    """
    from threadpoolctl import threadpool_limits

    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    threadpool_limits(threads)


def answer_job(work: Callable[[J], R], number: int, job: J) -> Answer:
    """The answer of a worker."""
    try:
        return Answer(number, True, work(job))
    except Exception as error:
        if not isinstance(error, UserError):  # the way to it does not travel with an exception
            error.add_note("in a worker:\n" + "".join(traceback.format_exception(error)))
        return Answer(number, False, error)


def make_death_error(job: str, how: str) -> UserError:
    """The error of a job that no worker outlives."""
    return UserError(
        f"{job}: its worker died {ATTEMPTS} times ({how}); if memory ran out, lower "
        "runtime.workers or use smaller shards, then run it again; finished shards are kept"
    )
