"""Workers that are processes of this machine.

They replace concurrent.futures' pool, which ends all processes when one is killed.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any

from captionseg.runtime.ending import end_process
from captionseg.runtime.lifeline import follow_maker
from captionseg.runtime.start_up import collect_nothing
from captionseg.runtime.workers import (
    ATTEMPTS,
    Answer,
    Said,
    answer_job,
    limit_threads,
    make_death_error,
)

PATIENCE = 5.0  # seconds for a process to delete its temporary files
log = logging.getLogger(__name__)


@dataclass
class Worker:
    """A process, our end of its pipe, its GPU, whether it has the function, and its job if any."""

    process: BaseProcess
    pipe: Connection
    gpu: str | None
    told: bool = False
    job: tuple[int, Any] | None = None


class Processes:
    """Workers that are processes of this machine. See Workers.

    Args:
        work: the function of a job.
        places: for each process the only GPU that it sees, or None.
        threads: number of threads of each process.
        called: describes a job, for messages.
    """

    def __init__(
        self,
        work: Callable[[Any], Any],
        places: Sequence[str | None],
        *,
        threads: int,
        called: Callable[[Any], str],
    ) -> None:
        # pickled once for all processes
        self.work, self.threads = ForkingPickler.dumps(work), threads
        self._begin(places, called)

    def _begin(self, places: Sequence[str | None], called: Callable[[Any], str]) -> None:
        """Start a process at each place."""
        self.called = called
        self.deaths: Counter[int] = Counter()
        self.workers: list[Worker] = []
        for gpu in places:
            self.workers.append(self._start(gpu))

    def _start(self, gpu: str | None) -> Worker:
        # spawn: a fork of a process that has started BLAS, torch or CUDA threads can hang
        spawn = get_context("spawn")
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=serve, args=(theirs, self.threads, gpu), daemon=True)
        process.start()
        theirs.close()
        return Worker(process, ours, gpu)

    def room(self, busy: int) -> bool:
        """See Workers."""
        return busy < len(self.workers)

    def send(self, number: int, job: Any) -> None:
        """See Workers."""
        self._give(next(worker for worker in self.workers if worker.job is None), number, job)

    def _give(self, worker: Worker, number: int, job: Any) -> None:
        worker.job = (number, job)
        try:
            if not worker.told:
                worker.pipe.send_bytes(self.work)
                worker.told = True
            worker.pipe.send(worker.job)
        except OSError:  # it died; `receive` handles that
            pass

    def receive(self) -> Answer:
        """See Workers."""
        while True:
            busy = {worker.pipe: worker for worker in self.workers if worker.job is not None}
            for pipe in wait(list(busy)):
                worker = busy[pipe]  # type: ignore[index]
                try:
                    answer = worker.pipe.recv()
                except (EOFError, OSError):
                    self._replace(worker)
                    continue
                if isinstance(answer, Said):
                    self.hear(*answer.values)
                    continue
                worker.job = None
                return answer

    def hear(self, *values: Any) -> None:
        """Take what a job says before it answers; jobs of spawned processes say nothing."""

    def _replace(self, worker: Worker) -> None:
        """Replace a process that died by another with the same job."""
        assert worker.job is not None
        number, job = worker.job
        worker.process.join()
        how, name = describe_exit(worker.process.exitcode), self.called(job)
        self.deaths[number] += 1
        if self.deaths[number] >= ATTEMPTS:
            raise make_death_error(name, how)
        log.warning("%s: its worker died (%s); another worker retries it", name, how)
        worker.pipe.close()
        fresh = self._start(worker.gpu)
        self.workers[self.workers.index(worker)] = fresh
        self._give(fresh, number, job)

    def close(self) -> None:
        """See Workers."""
        for worker in self.workers:
            worker.pipe.close()  # idle processes end by themselves
            if worker.job is not None:
                worker.process.terminate()
        for worker in self.workers:
            worker.process.join(PATIENCE)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.process.close()


def describe_exit(code: int | None) -> str:
    """Describe how a process ended."""
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def serve(pipe: Connection, threads: int, gpu: str | None) -> None:
    """Run a worker: receive the function, then do jobs until the pipe is closed."""
    unwind_on_signals()
    follow_maker()  # also during jobs, because an orphan would write files of the next run
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    limit_threads(threads)
    with suppress(EOFError, OSError):
        work = receive_function(pipe)
        limit_threads(threads)  # of libraries that were imported with it
        answer_jobs(pipe, work)
    end_process(0)  # this process has nothing else to do, and its maker waits for it


def unwind_on_signals() -> None:
    """Have a worker delete its temporary files before a signal ends it."""
    # Ctrl-C in a terminal reaches all processes, but only the main one should handle it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP
            signal.signal(number, lambda *_: sys.exit(1))


def receive_function(pipe: Connection) -> Callable[[Any], Any]:
    """Receive the function of jobs; if it cannot be imported, each job raises why."""
    try:
        with collect_nothing():
            return pipe.recv()
    except (ImportError, AttributeError, TypeError) as error:
        return _Fails(error)


def answer_jobs(pipe: Connection, work: Callable[[Any], Any]) -> None:
    """Do jobs until the pipe is closed.

    Raises:
        EOFError, OSError: when it is closed.
    """
    while True:
        pipe.send(make_sendable(answer_job(work, *pipe.recv())))


class _Fails:
    """Raises the same error for every job."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, job: Any) -> None:
        raise self.error


def make_sendable(answer: Answer) -> Answer:
    """Return the answer, or a RuntimeError if it cannot be pickled."""
    pickler: Any = ForkingPickler  # its type hints lack pickle's `loads`
    try:
        pickler.loads(pickler.dumps(answer))
    except Exception as error:  # __reduce__ can raise anything
        return Answer(
            answer.number, False, RuntimeError(f"cannot be sent ({error}): {answer.value!r}")
        )
    return answer
