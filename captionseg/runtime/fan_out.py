"""One function over many jobs: in this process, in several of this machine, or in those of a Ray
cluster.

A job is a shard that a worker reads and writes by itself, so little travels: the function, once to
every worker, and what it returns. Workers on several machines see the same files under the same
paths.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from captionseg.runtime.params import RuntimeParams
from captionseg.runtime.workers import Workers

J = TypeVar("J")
R = TypeVar("R")
T = TypeVar("T")


class PerProcess(Generic[T]):
    """What each process makes for itself, when it first asks: an encoder on its own device. It is
    never sent along.

    Args:
        make: sent in its place; importable.
        made: by whoever has it already in this process.
    """

    def __init__(self, make: Callable[[], T], made: T | None = None) -> None:
        self.make, self.made = make, made

    def __call__(self) -> T:
        if self.made is None:
            self.made = self.make()
        return self.made

    def __getstate__(self) -> dict[str, Any]:
        return {"make": self.make, "made": None}


def spread(
    work: Callable[[J], R],
    jobs: Sequence[J],
    runtime: RuntimeParams,
    *,
    device: str = "cpu",
    threads: int = 1,
    called: Callable[[J], str] = str,
) -> Iterator[R]:
    """work(job) of every job, in the order of the jobs.

    With one worker or one job it stays in this process. The first failure stops the others. Where a
    worker dies, its job alone is done again, at most ATTEMPTS times.

    Args:
        work: importable, with what it holds (a function of a module, or a partial of one); its
            results are small.
        jobs: small.
        runtime: what to spread over.
        device: that `work` computes on, as configured. auto and cuda: a worker has a GPU, or a
            share of one, to itself, where there is any. cuda:N is one GPU of this machine, so the
            work stays here.
        threads: of each worker's numerical libraries; by default there are so many workers that all
            have a core.
        called: a job in words, for errors.

    Raises:
        UserError: as `work` raised it, or if a job's worker dies every time.
    """
    if stays_here(runtime, len(jobs), device=device, threads=threads):
        return map(work, jobs)
    return _spread_over_workers(work, jobs, runtime, (device, threads), called)


def stays_here(runtime: RuntimeParams, jobs: int, *, device: str = "cpu", threads: int = 1) -> bool:
    """Will `spread` stay in this process?"""
    if not jobs or device.startswith("cuda:"):
        return True
    return (
        runtime.fan_out == "processes"
        and len(list_places(runtime, jobs, device=device, threads=threads)) == 1
    )


def count_workers(runtime: RuntimeParams, jobs: int) -> int:
    """How many workers `spread` takes on CPUs; 0 where only a cluster knows."""
    if runtime.fan_out == "ray":
        return runtime.workers
    return len(list_places(runtime, jobs, device="cpu", threads=1))


def list_places(
    runtime: RuntimeParams, jobs: int, *, device: str, threads: int
) -> list[str | None]:
    """A place for each of this machine's workers: the name of its GPU, None for whatever there
    is."""
    found: list[str | None]
    if device in ("auto", "cuda") and (gpus := list_visible_gpus()):
        found = [*gpus] * int(1 / runtime.gpu_share + 1e-6)
    else:
        found = [None] * (runtime.workers or max(1, count_cores() // threads))
    return found[: min(runtime.workers or len(found), max(1, jobs))]


def list_visible_gpus() -> list[str]:
    """Names for CUDA_VISIBLE_DEVICES of the GPUs that this process may use; none of them is
    touched.
    """
    import torch

    count, given = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
    return given.split(",")[:count] if given else [str(number) for number in range(count)]


def count_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count_threads() -> int:
    """Threads of this process's numerical libraries, so that workers round as it does."""
    from threadpoolctl import threadpool_info

    return max((library["num_threads"] for library in threadpool_info()), default=1)


def _spread_over_workers(
    work: Callable[[J], R],
    jobs: Sequence[J],
    runtime: RuntimeParams,
    where: tuple[str, int],
    called: Callable[[J], str],
) -> Iterator[R]:
    """`spread` by workers; results that are early wait for their turn."""
    workers = _start_workers(work, jobs, runtime, where, called)
    early: dict[int, R] = {}
    sent, yielded = 0, 0
    try:
        while yielded < len(jobs):
            while sent < len(jobs) and workers.room(sent - yielded - len(early)):
                workers.send(sent, jobs[sent])
                sent += 1
            answer = workers.receive()
            if not answer.well:
                raise answer.value
            early[answer.number] = answer.value
            while yielded in early:
                yield early.pop(yielded)
                yielded += 1
    finally:
        workers.close()


def _start_workers(
    work: Callable[[J], R],
    jobs: Sequence[J],
    runtime: RuntimeParams,
    where: tuple[str, int],
    called: Callable[[J], str],
) -> Workers:
    device, threads = where
    if runtime.fan_out == "ray":
        from captionseg.runtime.ray_tasks import RayTasks

        return RayTasks(work, runtime, gpu=device != "cpu", threads=threads, called=called)
    from captionseg.runtime.processes import Processes

    return Processes(
        work,
        list_places(runtime, len(jobs), device=device, threads=threads),
        threads=threads,
        called=called,
    )
