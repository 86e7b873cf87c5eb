"""Runs a function on many jobs: in this process, in several processes, or on a Ray cluster.

A job is a shard that a worker reads and writes itself, so little data is sent: the function, once
per worker, and the results. Workers on several machines must see the same files under the same
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
    """An object that each process makes on first use instead of receiving it, such as an encoder on
    its device.

    Args:
        make: makes the object; it is sent to workers and must be importable.
        made: the object, if this process already has it.
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
    """Yield work(job) for every job, in order.

    One worker or one job runs in this process. The first failure stops the others. If a worker
    dies, only its job is retried, up to ATTEMPTS attempts.

    Args:
        work: importable function (of a module, or a partial of one) with small results.
        jobs: jobs, small objects.
        runtime: how to distribute the jobs.
        device: configured device of `work`. With auto and cuda each worker has its own GPU, or a
            share of one, if there is any. cuda:N is one GPU of this machine, so the work stays in
            this process.
        threads: threads of each worker's numerical libraries; the number of workers is chosen so
            that each thread has a core.
        called: describes a job in errors.

    Raises:
        UserError: as raised by `work`, or if a job's worker dies in all attempts.
    """
    if stays_here(runtime, len(jobs), device=device, threads=threads):
        return map(work, jobs)
    return _spread_over_workers(work, jobs, runtime, (device, threads), called)


def stays_here(runtime: RuntimeParams, jobs: int, *, device: str = "cpu", threads: int = 1) -> bool:
    """Return whether `spread` runs in this process."""
    if not jobs or device.startswith("cuda:"):
        return True
    return (
        runtime.fan_out == "processes"
        and len(list_places(runtime, jobs, device=device, threads=threads)) == 1
    )


def count_workers(runtime: RuntimeParams, jobs: int) -> int:
    """Return the number of workers of `spread` on CPUs; 0 if a cluster decides."""
    if runtime.fan_out == "ray":
        return runtime.workers
    return len(list_places(runtime, jobs, device="cpu", threads=1))


def list_places(
    runtime: RuntimeParams, jobs: int, *, device: str, threads: int
) -> list[str | None]:
    """Return the GPU of each worker on this machine; None for no particular GPU."""
    places: list[str | None]
    if device in ("auto", "cuda") and (gpus := list_visible_gpus()):
        places = [*gpus] * int(1 / runtime.gpu_share + 1e-6)
    else:
        places = [None] * (runtime.workers or max(1, count_cores() // threads))
    return places[: min(runtime.workers or len(places), max(1, jobs))]


def list_visible_gpus() -> list[str]:
    """Return the names in CUDA_VISIBLE_DEVICES of the usable GPUs, without initialising them."""
    import torch

    count, visible = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[:count] if visible else [str(number) for number in range(count)]


def count_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count_threads() -> int:
    """Return the number of threads of numerical libraries, so that workers round identically."""
    from threadpoolctl import threadpool_info

    return max((library["num_threads"] for library in threadpool_info()), default=1)


def _spread_over_workers(
    work: Callable[[J], R],
    jobs: Sequence[J],
    runtime: RuntimeParams,
    where: tuple[str, int],
    called: Callable[[J], str],
) -> Iterator[R]:
    """Run `spread` on workers."""
    yield from collect(_start_workers(work, jobs, runtime, where, called), jobs)


def collect(workers: Workers, jobs: Sequence[Any]) -> Iterator[Any]:
    """Yield the results of jobs by workers, in order; early ones wait for their turn.

    Args:
        workers: are closed at the end.
        jobs: the jobs.

    Raises:
        Exception: the first of a job; the others end.
    """
    early: dict[int, Any] = {}
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
