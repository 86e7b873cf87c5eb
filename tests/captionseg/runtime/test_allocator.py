"""Freed memory stays with the process inside, and goes back to the kernel afterwards.

In processes of their own: one that has worked has free memory, which blocks come from.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from captionseg.runtime import allocator
from captionseg.runtime.allocator import find_glibc, keep_freed_memory

SIZE = 64 << 20
USE = f"""
import json, resource
import numpy as np
from captionseg.runtime.allocator import keep_freed_memory

def use(times):
    for _ in range(times):
        np.empty({SIZE}, np.uint8).fill(1)

def count_faults():  # how often the kernel has to give this process a page
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    use(5)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

found = dict(before=count_faults(), start=resident())
try:
    with keep_freed_memory():
        use(1)
        found |= dict(inside=count_faults(), kept=resident())
        {{end}}
except KeyError:
    pass
found |= dict(given_back=resident(), after=count_faults())
print(json.dumps(found))
"""


@pytest.mark.skipif(find_glibc() is None, reason="the C library is not glibc")
@pytest.mark.parametrize("end", ["pass", "raise KeyError"])
def test_the_same_pages_are_used_again_inside_and_are_given_back_afterwards(end: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", USE.format(end=end)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"NUMPY_MADVISE_HUGEPAGE": "0"},  # fewer pages to count
    )
    found = json.loads(done.stdout)
    assert found["before"] > 100
    assert found["inside"] < found["before"] / 4
    assert found["kept"] > found["start"] + 0.8 * SIZE
    assert found["given_back"] < found["start"] + 0.2 * SIZE
    assert found["after"] > found["before"] / 2


def test_nothing_happens_without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    assert find_glibc() is None
    with keep_freed_memory():
        pass
