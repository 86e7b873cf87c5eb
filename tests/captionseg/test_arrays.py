import numpy as np
import pytest

from captionseg.arrays import RaggedArray, Rows, ShardedArray
from captionseg.records import UserError
from captionseg.storage.writing import write_array


@pytest.fixture
def folder(tmp_path):
    whole = np.arange(30).reshape(10, 3)
    for name, part in (
        ("a_00", whole[:4]),
        ("a_01", whole[4:4]),
        ("a_02", whole[4:5]),
        ("a_10", whole[5:]),
    ):
        write_array(part, tmp_path / f"{name}.npy")
    return tmp_path, whole


def test_rows_of_several_files_in_the_order_asked_for(folder):
    path, whole = folder
    sharded = ShardedArray.of_folder(path)
    assert sharded.shape == (10, 3)
    for rows in ([9, 0, 4, 4, 3, 5], [], range(10)):
        rows = np.array(list(rows), int)
        np.testing.assert_array_equal(sharded[rows], whole[rows])


@pytest.mark.parametrize("row", [10, -1])
def test_a_row_that_is_not_there_is_an_error(folder, row):
    with pytest.raises(IndexError):
        ShardedArray.of_folder(folder[0])[np.array([row])]


def test_an_empty_folder_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no npy files"):
        ShardedArray.of_folder(tmp_path)


def test_rows_are_read_as_they_are_asked_for(folder):
    path, whole = folder
    rows = Rows(ShardedArray.of_folder(path), np.array([9, 2, 2, 5]))
    assert (len(rows), rows.width) == (4, 3)
    assert rows[np.array([0, 3])].dtype == np.float32
    np.testing.assert_array_equal(rows[np.array([0, 3])], whole[[9, 5]])
    blocks = list(rows.map(lambda block: 2 * block).blocks(3))
    assert [len(block) for block in blocks] == [3, 1]
    np.testing.assert_array_equal(np.concatenate(blocks), 2 * whole[[9, 2, 2, 5]])
    half = rows.map(np.negative).select(np.array([3, 0]))
    np.testing.assert_array_equal(half[np.array([0, 1])], -whole[[5, 9]])
    assert Rows.of(rows) is rows
    np.testing.assert_array_equal(Rows.of(whole)[np.array([1])], whole[[1]])


def test_rows_of_different_lengths_are_filled_to_one_width():
    values = np.array([5, 6, 7, 8, 9], np.int32)
    ragged = RaggedArray(np.array([0, 2, 2, 5]), values, 4, -1)
    whole = [[5, 6, -1, -1], [-1, -1, -1, -1], [7, 8, 9, -1]]
    assert ragged.shape == (3, 4)
    assert len(ragged) == 3
    assert np.asarray(ragged).tolist() == ragged[:].tolist() == whole
    for rows in ([2, 0, 2], [], [1]):
        found = ragged[np.array(rows, int)]
        assert (found.dtype, found.shape) == (np.int32, (len(rows), 4))
        assert found.tolist() == [whole[row] for row in rows]
    assert ragged[2].tolist() == ragged[np.int64(2)].tolist() == whole[2]
    assert ragged[1:].tolist() == whole[1:]
    with pytest.raises(IndexError):
        ragged[np.array([3])]
