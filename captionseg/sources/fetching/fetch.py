"""Many URLs at once, from code that waits: the client of a process, and its event loop beside it.

The loop runs in a thread of its own, so that pictures arrive while others are decoded. Connections
stay open from one shard to the next.
"""

from __future__ import annotations

import asyncio
import atexit
import itertools
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from queue import SimpleQueue
from typing import ClassVar

from captionseg.sources.fetching.client import Client, Outcome
from captionseg.sources.fetching.params import HttpParams

HELD_BYTES = 256 * 2**20  # of answers that nobody has taken yet
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
    stream = Stream(kept.client)
    everything = list(urls)
    work = asyncio.run_coroutine_threadsafe(stream.run(everything), kept.loop)
    work.add_done_callback(stream.end)
    try:
        for _ in everything:
            if (outcome := stream.take()) is None:
                work.result()  # it failed
            else:
                yield outcome
    finally:
        work.cancel()


async def fetch_all(urls: Sequence[str], params: HttpParams) -> list[Outcome]:
    """What became of each URL, in their order, by a client that is closed afterwards."""
    client = Client(params)
    try:
        return await asyncio.gather(*map(client.fetch, urls))
    finally:
        await client.close()


class Stream:
    """Outcomes on their way from the loop's thread to another one, which takes them in the order
    of their URLs. Not much more than HELD_BYTES wait to be taken.

    Threads that send each other a word for each picture would mostly wait for each other, so what
    is taken is counted, and looked at by the loop alone.

    Args:
        client: of the loop.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.ready: SimpleQueue[Outcome | None] = SimpleQueue()
        self.arrived, self.taken = 0, 0  # bytes
        self.begun: deque[asyncio.Task[Outcome]] = deque()

    def take(self) -> Outcome | None:
        """The next outcome; None where `run` has ended too early."""
        outcome = self.ready.get()
        self.taken += len(outcome) if isinstance(outcome, bytes) else 0
        return outcome

    def end(self, _: object) -> None:
        """Nothing more comes."""
        self.ready.put(None)

    async def run(self, urls: Sequence[str]) -> None:
        """Ask for all URLs."""
        coming = iter(urls)
        try:
            while True:
                for url in itertools.islice(
                    coming, AHEAD * self.client.connections - len(self.begun)
                ):
                    self.begun.append(asyncio.create_task(self._fetch(url)))
                if not self.begun:
                    return
                self.ready.put(await self.begun[0])
                self.begun.popleft()
        finally:
            for task in self.begun:
                task.cancel()
            await asyncio.gather(*self.begun, return_exceptions=True)

    async def _fetch(self, url: str) -> Outcome:
        outcome = await self.client.fetch(url, self.has_room)
        self.arrived += len(outcome) if isinstance(outcome, bytes) else 0
        return outcome

    def has_room(self) -> bool:
        """For one more. The one that is waited for must not wait itself."""
        waited_for = self.ready.empty() and asyncio.current_task() is self.begun[0]
        return waited_for or self.arrived - self.taken <= HELD_BYTES


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

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self.client.close()
        await asyncio.sleep(0.01)  # transports close in the next rounds of the loop

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
        asyncio.run_coroutine_threadsafe(kept._end(), kept.loop).result()
        kept.loop.call_soon_threadsafe(kept.loop.stop)
        kept.thread.join()
        kept.loop.close()


atexit.register(KeptClient._close)
