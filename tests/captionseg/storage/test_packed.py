"""Packed arrays: rows in any order, sizes, damage."""

import numpy as np
import pytest

from captionseg.records import UserError
from captionseg.storage.folders import count_rows, map_packed
from captionseg.storage.packed import PackedArray, open_packed, write_packed


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32])
def test_rows_come_back_in_any_order(tmp_path, dtype):
    array = (10 * np.random.default_rng(0).random((7, 3, 5))).astype(dtype)
    file = tmp_path / "a.arrow"
    with open_packed(file, array.shape, dtype) as append:
        append(array[:2].astype(np.float64))
        append(array[2:])
    packed = PackedArray(file, rows=7)
    assert (packed.shape, packed.dtype, len(packed)) == ((7, 3, 5), dtype, 7)
    for rows in ([0, 1, 2, 3, 4, 5, 6], [6, 2, 2, 0], []):
        rows = np.array(rows, int)
        found = packed[rows]
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, array[rows])


def test_the_bytes_do_not_depend_on_the_run_and_zeros_take_no_room(tmp_path):
    array = np.zeros((50, 1000), np.float16)
    array[:, ::100] = np.random.default_rng(0).random((50, 10))
    for name in ("a", "b"):
        write_packed(array, tmp_path / f"{name}.arrow")
    data = (tmp_path / "a.arrow").read_bytes()
    assert data == (tmp_path / "b.arrow").read_bytes()
    assert len(data) < array.nbytes / 10


def test_a_torn_or_missing_file_is_one_line(tmp_path):
    file = tmp_path / "x" / "x_0.arrow"
    assert count_rows(file) is None
    with pytest.raises(UserError, match=r"x_0.arrow: no such file; run `dvc repro`"):
        PackedArray(file)
    write_packed(np.zeros((4, 2)), file)
    assert count_rows(file) == 4
    with pytest.raises(UserError, match=r"x_0.arrow: cannot be read \(expected 3 rows, found 4\)"):
        map_packed(tmp_path / "x", {"0": 3})
    whole = file.read_bytes()
    file.unlink()  # maps of it stay readable
    file.write_bytes(whole[:-5])
    assert count_rows(file) is None
    with pytest.raises(UserError, match=r"x_0.arrow: cannot be read"):
        PackedArray(file)


def test_a_damaged_row_is_named(tmp_path):
    file = tmp_path / "x.arrow"
    write_packed(np.arange(8000).reshape(2, 4000), file)
    data = file.read_bytes()
    start = data.index(b"\x28\xb5\x2f\xfd")  # of the first frame of zstd
    file.unlink()
    file.write_bytes(data[:start] + b"1234" + data[start + 4 :])
    packed = PackedArray(file)
    assert packed[np.array([1])][0, 0] == 4000
    with pytest.raises(UserError, match=r"x.arrow: row 0 cannot be read .*; delete it and run"):
        packed[np.array([0])]


def test_files_of_a_folder_have_rows_of_one_shape(tmp_path):
    for shard, width in (("0", 2), ("1", 3)):
        write_packed(np.zeros((4, width)), tmp_path / "x" / f"x_{shard}.arrow")
    with pytest.raises(UserError, match=r"x_1.arrow: rows are float64\[3\], but in x_0.arrow"):
        map_packed(tmp_path / "x")


def test_too_few_rows_leave_no_file(tmp_path):
    with (
        pytest.raises(RuntimeError, match="1 rows were written, expected 2"),
        open_packed(tmp_path / "x.arrow", (2, 3), np.uint8) as append,
    ):
        append(np.zeros((1, 3)))
    assert not list(tmp_path.iterdir())
