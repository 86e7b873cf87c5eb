"""Columns that are written in parts and mapped again."""

import numpy as np
import pyarrow as pa

from captionseg.storage.reading import read_array
from captionseg.training.stored_columns import (
    GrowingArray,
    ListWriter,
    TextWriter,
    read_lists,
    read_texts,
)


def test_an_array_grows_by_parts_and_is_an_npy_file(tmp_path):
    parts = [np.arange(n * 6, dtype=np.float64).reshape(n, 2, 3) for n in (2, 0, 5)]
    file = GrowingArray(tmp_path / "a.npy", np.float32, (2, 3))
    for part in parts:
        file.append(part)
    file.close()
    found = read_array(tmp_path / "a.npy", rows=7)
    assert (found.dtype, type(found)) == (np.float32, np.memmap)
    np.testing.assert_array_equal(found, np.concatenate(parts))


def test_the_header_has_room_for_any_number_of_rows(tmp_path):
    file = GrowingArray(tmp_path / "a.npy", np.uint8)
    file.append(np.arange(3))
    size = file.stream.tell()
    file.count = 10**15
    file.write_header()
    assert size == file.stream.tell() + 3
    file.count = 3
    file.close()
    assert np.load(tmp_path / "a.npy").tolist() == [0, 1, 2]


def test_lists_that_are_kept_and_the_width_of_all(tmp_path):
    """Three lists and one; of each part the first two are not kept."""
    writer = ListWriter(tmp_path, "x", {"a": np.int32, "b": np.float32}, least=1)
    values = np.array([5, 6, 7, 8, 9, 1])
    kept = np.array([False, False, True])
    writer.append(np.array([4, 0, 2]), {"a": values, "b": values / 2}, kept)
    writer.append(np.array([0, 1]), {"a": np.array([3]), "b": np.array([0.5])})
    writer.close()
    assert writer.width == 4
    found = read_lists(tmp_path, "x", writer.width, {"a": -1, "b": 0.0})
    assert np.asarray(found["a"]).tolist() == [[9, 1, -1, -1], [-1] * 4, [3, -1, -1, -1]]
    assert found["b"][np.array([2, 0])].tolist() == [[0.5, 0, 0, 0], [4.5, 0.5, 0, 0]]
    assert (found["a"].values.dtype, found["b"].values.dtype) == (np.int32, np.float32)


def test_no_list_at_all(tmp_path):
    writer = ListWriter(tmp_path, "x", {"a": np.int32})
    writer.close()
    assert read_lists(tmp_path, "x", writer.width, {"a": -1})["a"].shape == (0, 0)


def test_texts_by_number_and_in_order(tmp_path):
    texts = ["a dog", "", "ein Bär 🐻", *(f"text {n}" for n in range(1500))]
    writer = TextWriter(tmp_path, "t")
    writer.append(pa.array(["not this", *texts[:2]]).slice(1))
    writer.append(pa.array([], pa.string()))
    writer.append(pa.array([*texts[2:], None]))
    writer.close()
    found = read_texts(tmp_path, "t")
    assert list(found) == [*texts, ""]
    assert [found[0], found[np.int64(2)], found[-2]] == ["a dog", "ein Bär 🐻", "text 1499"]
    assert found[1:4] == texts[1:4]
    assert len(found) == 1504
