"""Hashes by which equal values are found."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from captionseg.expectations.hashes import hash_values, list_once

PRINT = """
import numpy as np
from captionseg.expectations.hashes import hash_values
print(hash_values(np.array(["a", "b", None], object)).tolist())
"""


def test_equal_values_have_equal_hashes_in_any_process() -> None:
    values = np.array(["a", "b", None, "a"], object)
    hashes = hash_values(values)
    assert hashes.dtype == np.uint64
    assert hashes[0] == hashes[3]
    assert len(set(hashes.tolist())) == 3
    done = subprocess.run([sys.executable, "-c", PRINT], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(hashes[:3].tolist())


def test_each_of_sorted_values_once() -> None:
    def once(values: list[int]) -> list[int]:
        return list_once(np.array(values, np.uint64)).tolist()

    assert once([1, 1, 2, 5, 5, 5]) == [1, 2, 5]
    assert once([7]) == [7]
    assert once([]) == []
