"""Many URLs at once, from code that waits: the client of a process, and its event loop beside it.

The loop runs in a thread of its own, so that pictures arrive while others are decoded. Connections
stay open from one shard to the next.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import ClassVar

from captionseg.sources.fetching.client import HELD_BYTES, Client, Outcome
from captionseg.sources.fetching.params import HttpParams

AHEAD = 8  # URLs for each connection that are begun before the first of them is taken


def fetch(urls: Iterable[str], params: HttpParams, *, workers: int = 1) -> Iterator[Outcome]:
    """What became of each URL, in their order.

    Args:
        urls: any.
        params: how to ask.
        workers: processes that do this at the same time and share the connections.

    Yields:
        bytes, or a Refusal.
    """
    kept = KeptClient.get(params, workers)
    outcomes = stream(kept.client, list(urls))
    step: Future[Outcome] | None = None
    try:
        while True:
            step = asyncio.run_coroutine_threadsafe(outcomes.__anext__(), kept.loop)
            try:
                yield step.result()
            except StopAsyncIteration:
                return
    finally:
        if step is not None and not step.cancel():  # not interrupted while it waited for one
            asyncio.run_coroutine_threadsafe(outcomes.aclose(), kept.loop).result()


async def fetch_all(urls: Sequence[str], params: HttpParams) -> list[Outcome]:
    """What became of each URL, in their order, by a client that is closed afterwards."""
    client = Client(params)
    try:
        return [outcome async for outcome in stream(client, urls)]
    finally:
        await client.close()


async def stream(client: Client, urls: Sequence[str]) -> AsyncGenerator[Outcome]:
    """What became of each URL, in their order; not much more than HELD_BYTES wait to be taken."""
    begun: deque[asyncio.Task[Outcome]] = deque()
    held = 0

    async def fetch_one(url: str) -> Outcome:
        nonlocal held
        # the first must not wait, for all others wait for it
        while held > HELD_BYTES and asyncio.current_task() is not begun[0]:
            await asyncio.sleep(0.02)
        outcome = await client.fetch(url)
        held += len(outcome) if isinstance(outcome, bytes) else 0
        return outcome

    coming = iter(urls)
    try:
        while True:
            while (
                len(begun) < AHEAD * client.connections and (url := next(coming, None)) is not None
            ):
                begun.append(asyncio.create_task(fetch_one(url)))
            if not begun:
                return
            outcome = await begun[0]
            begun.popleft()
            held -= len(outcome) if isinstance(outcome, bytes) else 0
            yield outcome
    finally:
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)


class KeptClient:
    """The client of this process, and its loop in a thread of its own; until others are asked for,
    or the process ends.

    Args:
        params: of the client.
        workers: likewise.
    """

    lock = threading.Lock()
    kept: ClassVar[KeptClient | None] = None

    def __init__(self, params: HttpParams, workers: int) -> None:
        self.key = (os.getpid(), params, workers)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="fetching", daemon=True)
        self.thread.start()
        self.client = asyncio.run_coroutine_threadsafe(self._make(), self.loop).result()

    async def _make(self) -> Client:
        _, params, workers = self.key
        return Client(params, workers)

    @classmethod
    def get(cls, params: HttpParams, workers: int) -> KeptClient:
        """The one of these params. A process that was forked has its own."""
        with cls.lock:
            if cls.kept is None or cls.kept.key != (os.getpid(), params, workers):
                cls._close()
                cls.kept = cls(params, workers)
            return cls.kept

    @classmethod
    def _close(cls) -> None:
        kept, cls.kept = cls.kept, None
        if kept is None or kept.key[0] != os.getpid():
            return
        asyncio.run_coroutine_threadsafe(kept.client.close(), kept.loop).result()
        kept.loop.call_soon_threadsafe(kept.loop.stop)
        kept.thread.join()
        kept.loop.close()


atexit.register(KeptClient._close)
