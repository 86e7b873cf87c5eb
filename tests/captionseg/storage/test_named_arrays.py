"""Arrays by name, which processes share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from captionseg.storage.named_arrays import read_named, write_named


def test_what_is_read_was_written_and_cannot_be_changed(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6).reshape(2, 3), "none": np.zeros((0, 4)), "is": np.array([True])}
    write_named(arrays, tmp_path / "x")
    found = read_named(tmp_path / "x")
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    with pytest.raises(ValueError, match="read-only"):
        found["a"][0, 0] = 1
    write_named({}, tmp_path / "nothing")
    assert (tmp_path / "nothing").exists()
    assert read_named(tmp_path / "nothing") == {}


def test_a_folder_is_there_when_all_of_it_is(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Object arrays"):
        write_named({"a": np.arange(3), "b": None}, tmp_path / "x")  # type: ignore[dict-item]
    assert list(tmp_path.iterdir()) == []
