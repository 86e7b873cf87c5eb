"""Memory of this process while something runs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

EVERY = 0.002  # seconds between looks


@dataclass
class Peak:
    """Bytes that a block took.

    Attributes:
        before: bytes of the process when it began.
        most: bytes that were added to them, at most.
    """

    before: int
    most: int = 0


def read_own_memory() -> int:
    """Bytes of this process that are in memory and belong to no file."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) << 10
    raise SystemExit("no RssAnon in /proc/self/status")


@contextlib.contextmanager
def watch_memory() -> Iterator[Peak]:
    """Look at the memory of this process until the block ends."""
    peak, over = Peak(read_own_memory()), threading.Event()

    def watch() -> None:
        while not over.wait(EVERY):
            peak.most = max(peak.most, read_own_memory() - peak.before)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()
        peak.most = max(peak.most, read_own_memory() - peak.before)
