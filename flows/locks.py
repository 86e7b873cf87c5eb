"""Locks that say who holds them."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout


@contextlib.contextmanager
def hold_lock(
    path: Path, who: str, say: Callable[[str], None], patience: float = 1.0, *, what: str = ""
) -> Iterator[None]:
    """Hold a lock, which is released if its owner dies; wait for it, and print who has it.

    Args:
        path: file of the lock; a file next to it names the holder.
        who: description of this process for others.
        say: called once per holder that is waited for.
        patience: seconds between checks of the holder.
        what: what is locked; by default the repository.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock, note, announced = FileLock(path), path.with_suffix(".holder"), ""
    while True:
        try:
            lock.acquire(timeout=patience if announced else 0, poll_interval=0.2)
            break
        except Timeout:
            holder = _read(note)
            if holder != announced:
                say(f"waiting: {what or path.parents[2]} is in use by {holder}")
                announced = holder
    try:
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        note.write_text(json.dumps(f"{who} (pid {os.getpid()}, since {since})"), encoding="utf-8")
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def _read(note: Path) -> str:
    try:
        return json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "another run"
