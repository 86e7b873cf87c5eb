"""Freed memory stays with the process inside, and goes back to the kernel afterwards."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest

from captionseg.runtime import allocator
from captionseg.runtime.allocator import find_glibc, keep_freed_memory

SIZE = 64 << 20

pytestmark = pytest.mark.skipif(find_glibc() is None, reason="the C library is not glibc")


def use(times: int) -> None:
    """Fill a new block of SIZE bytes, and free it."""
    for _ in range(times):
        np.empty(SIZE, np.uint8).fill(1)


def count_faults(times: int) -> int:
    """How often the kernel has to give this process a page meanwhile."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    use(times)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_the_same_pages_are_used_again_inside_and_are_given_back_afterwards() -> None:
    start = resident()
    outside = count_faults(5)
    with keep_freed_memory():
        use(1)
        assert count_faults(5) < outside / 10
        assert resident() > start + 0.8 * SIZE
    assert resident() < start + 0.5 * SIZE
    assert count_faults(5) > outside / 2


def test_an_error_passes_and_memory_is_given_back() -> None:
    def fail() -> None:
        with keep_freed_memory():
            use(1)
            raise KeyError

    start = resident()
    with pytest.raises(KeyError):
        fail()
    assert resident() < start + 0.5 * SIZE


def test_nothing_happens_without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    assert find_glibc() is None
    outside = count_faults(5)
    with keep_freed_memory():
        use(1)
        assert count_faults(5) > outside / 2
