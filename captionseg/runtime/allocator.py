"""What becomes of memory that C code frees."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator

# of glibc's malloc.h
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
ALL = (1 << 31) - 1
KEEP = ((MMAP_MAX, 0), (TRIM_THRESHOLD, ALL))
GIVE_BACK = ((MMAP_MAX, 1 << 16), (MMAP_THRESHOLD, 32 << 20), (TRIM_THRESHOLD, 64 << 20))
"""Where glibc's own thresholds end up in a process that has freed a large block."""


@contextlib.contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Inside, what the main thread frees stays with this process, up to 2 GiB; at the end it is
    given back.

    For a network on the CPU: after each batch it frees maps of many megabytes, and asks for as much
    again. By default each is a mapping of its own, so the kernel clears the same pages for every
    batch. Nothing changes where the C library is not glibc.
    """
    libc = find_glibc()
    if libc is None:
        yield
        return
    for option, value in KEEP:
        libc.mallopt(option, value)
    try:
        yield
    finally:
        for option, value in GIVE_BACK:
            libc.mallopt(option, value)
        libc.malloc_trim(0)


def find_glibc() -> ctypes.CDLL | None:
    """Return the C library of this process if it is glibc."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
