"""The interface of workers, and their common functions."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

from captionseg.records import UserError

J = TypeVar("J")
R = TypeVar("R")
ATTEMPTS = 3  # number of attempts at a job whose worker dies


class Answer(NamedTuple):
    """The result of the job with a number or, if not `well`, its exception."""

    number: int
    well: bool
    value: Any


class Said(NamedTuple):
    """What a job says before it answers."""

    values: tuple[Any, ...]


class Workers(Protocol):
    """Processes that do jobs, one at a time each, and answer in any order."""

    def room(self, busy: int) -> bool:
        """Return whether another job can be sent while `busy` are in progress."""
        ...

    def send(self, number: int, job: Any) -> None:
        """Send a job to a worker."""
        ...

    def receive(self) -> Answer:
        """Wait for the next answer.

        Raises:
            UserError: if the worker of a job died in all attempts.
        """
        ...

    def close(self) -> None:
        """End all workers and their jobs."""
        ...


def limit_threads(threads: int) -> None:
    """Limit the threads of numerical libraries in this process, including libraries
    loaded later.
    """
    from threadpoolctl import threadpool_limits

    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    threadpool_limits(threads)


def answer_job(work: Callable[[J], R], number: int, job: J) -> Answer:
    """Do a job in a worker, and return the answer."""
    try:
        return Answer(number, True, work(job))
    except Exception as error:
        if not isinstance(error, UserError):  # tracebacks are not sent with exceptions
            error.add_note("in a worker:\n" + "".join(traceback.format_exception(error)))
        return Answer(number, False, error)


def make_death_error(job: str, how: str) -> UserError:
    """Return the error of a job whose worker died in all attempts."""
    return UserError(
        f"{job}: its worker died {ATTEMPTS} times ({how}); if memory ran out, lower "
        "runtime.workers or use smaller shards, then run it again; finished shards are kept"
    )
