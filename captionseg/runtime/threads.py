"""Runs a function over chunks of an array on all cores, with results that do not depend on how many
there are; makes items in a thread before they are asked for, and finishes them in one.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar, cast

from threadpoolctl import threadpool_limits

from captionseg.runtime.fan_out import count_cores

J = TypeVar("J")
R = TypeVar("R")
T = TypeVar("T")


def map_chunks(work: Callable[[J], R], chunks: Iterable[J]) -> Iterator[R]:
    """Yield work(chunk) for every chunk, in order; sums of these are always the same.

    Chunks are spread over threads, and numerical libraries use one thread for each, since how they
    round depends on their number of threads. Few results wait at a time.

    Args:
        work: spends its time in numpy or scipy, which let other threads run.
        chunks: small objects.
    """
    threads = count_cores()
    waiting: deque[Future[R]] = deque()
    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        for chunk in chunks:
            waiting.append(pool.submit(work, chunk))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def make_ahead(items: Iterable[T]) -> Iterator[T]:
    """Yield items, while a thread makes the next one."""
    iterator, end = iter(items), object()
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, iterator, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, iterator, end)
            yield cast(T, item)


@contextlib.contextmanager
def work_behind(work: Callable[[T], object]) -> Iterator[Callable[[T], None]]:
    """Yield a function that takes the next item for a thread to call `work` with, in order.

    It waits until the item before is done, and raises what that has raised; so does the end.
    """
    with ThreadPoolExecutor(1) as thread:
        busy: deque[Future[object]] = deque()

        def take(item: T) -> None:
            if busy:
                busy.popleft().result()
            busy.append(thread.submit(work, item))

        yield take
        if busy:
            busy.popleft().result()
