"""Workers that are processes of this machine.

Not concurrent.futures' pool: when one of its processes is killed, it ends all others in the middle
of what they do.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any

from captionseg.runtime.lifeline import follow_maker
from captionseg.runtime.workers import ATTEMPTS, Answer, answer_job, limit_threads, make_death_error

PATIENCE = 5.0  # seconds for a process to take its temporary files away
log = logging.getLogger(__name__)


@dataclass
class Worker:
    """A process, this end of its pipe, the GPU that it sees, and the job that it is at."""

    process: BaseProcess
    pipe: Connection
    gpu: str | None
    told: bool = False
    job: tuple[int, Any] | None = None


class Processes:
    """See Workers.

    Args:
        work: a function of a job.
        places: of each process the GPU that it sees alone, or None.
        threads: of each.
        called: a job in words.
    """

    def __init__(
        self,
        work: Callable[[Any], Any],
        places: Sequence[str | None],
        *,
        threads: int,
        called: Callable[[Any], str],
    ) -> None:
        # once, for all of them
        self.work, self.threads, self.called = (ForkingPickler.dumps(work), threads, called)
        self.deaths: Counter[int] = Counter()
        self.workers = [self._start(gpu) for gpu in places]

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
        except OSError:  # it has died; `receive` will see that
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
                worker.job = None
                return answer

    def _replace(self, worker: Worker) -> None:
        """Another process for one that has died, at the same job."""
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
            worker.pipe.close()  # who waits for a job ends by itself
            if worker.job is not None:
                worker.process.terminate()
        for worker in self.workers:
            worker.process.join(PATIENCE)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.process.close()


def describe_exit(code: int | None) -> str:
    """How a process ended, in words."""
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def serve(pipe: Connection, threads: int, gpu: str | None) -> None:
    """A worker's life: the work, then jobs, until the other end is closed."""
    # of a terminal it goes to all; who sends the jobs decides
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # unwinds, so that temporary files go
    follow_maker()  # not only between jobs: an orphan would go on writing where the next run works
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    limit_threads(threads)
    work: Callable[[Any], Any] | None = None
    try:
        try:
            work = pipe.recv()
            limit_threads(threads)  # of what came with it
        except (
            ImportError,
            AttributeError,
            TypeError,
        ) as error:  # not importable here: told with the first job
            work = _Fails(error)
        while True:
            pipe.send(make_sendable(answer_job(work, *pipe.recv())))  # type: ignore[arg-type]
    except (EOFError, OSError):
        return


class _Fails:
    """Raises the same at every job."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, job: Any) -> None:
        raise self.error


def make_sendable(answer: Answer) -> Answer:
    """The same, or a RuntimeError that says what cannot be sent."""
    try:
        ForkingPickler.loads(ForkingPickler.dumps(answer))  # type: ignore[attr-defined]  # pickle's own
    except Exception as error:  # whatever a foreign __reduce__ raises
        return Answer(
            answer.number, False, RuntimeError(f"cannot be sent ({error}): {answer.value!r}")
        )
    return answer
