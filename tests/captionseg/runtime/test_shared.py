"""Objects that workers share: large arrays become files, and what is a file is not copied."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.sparse import csr_array

from captionseg.arrays import SelectedRows, ShardedArray, Texts
from captionseg.runtime.shared import is_shared, open_shared, share
from captionseg.storage.reading import read_array
from captionseg.storage.writing import write_array

LARGE = 40_000


def test_what_is_opened_equals_what_was_shared(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    named = csr_array(rng.random((LARGE, 3)) < 0.5)
    texts = Texts(pa.array([f"text {n}" for n in range(LARGE)]))
    table = np.asfortranarray(rng.random((LARGE, 2)))
    assert not is_shared(tmp_path)
    share({"named": named, "texts": texts, "f": functools.partial(np.dot, table)}, tmp_path)
    assert is_shared(tmp_path)
    found = open_shared(tmp_path)
    assert (found["named"] != named).nnz == 0
    assert found["texts"][np.array([7, 0])].tolist() == ["text 7", "text 0"]
    np.testing.assert_array_equal(found["f"]([1.0, 2.0]), table @ [1.0, 2.0])
    shared = found["f"].args[0]
    with pytest.raises(ValueError, match="read-only"):
        shared[0, 0] = 1.0


def test_a_mapped_file_is_not_copied(tmp_path: Path) -> None:
    write_array(np.arange(LARGE * 4).reshape(LARGE, 4), tmp_path / "x.npy")
    mapped = read_array(tmp_path / "x.npy")
    rows = SelectedRows(ShardedArray([mapped]), np.arange(0, LARGE, 2), np.dtype(np.int64))
    share({"rows": rows, "part": mapped[:5]}, tmp_path / "shared")
    sizes = [file.stat().st_size for file in (tmp_path / "shared").iterdir()]
    assert sum(sizes) < LARGE * 4 * 8 / 2  # the numbers of rows, and no values
    found = open_shared(tmp_path / "shared")
    np.testing.assert_array_equal(found["rows"][np.array([3, 1])], mapped[[6, 2]])
    np.testing.assert_array_equal(found["part"], mapped[:5])
