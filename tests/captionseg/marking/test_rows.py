import numpy as np
import pyarrow as pa
import pytest
from scipy.sparse import csr_array

from captionseg.marking.rows import (
    load_rows,
    make_rows,
    read_hashes,
    read_indexed_pairs,
    with_concepts,
)
from captionseg.records import UserError
from captionseg.storage.writing import write_table
from tests.captionseg.marking.rows import rows_of

TABLE = pa.table(
    {
        "uid": ["a", "b", "c", "d", "e"],
        "url": ["u/1", "u/1", "u/1", None, ""],
        "caption": ["x", None, "z", "", "y"],
        "split": ["train", "train", "test", "train", "tune"],
        "width": pa.array([224, 224, 224, 10, None], pa.int32()),
        "height": pa.array([200, 200, 200, 20, None], pa.int32()),
        "original_width": pa.array([2240, 2240, 2240, None, None], pa.int32()),
        "original_height": pa.array([2000, 2000, 2000, None, None], pa.int32()),
        "sha256": ["o", "p", "q", None, "t"],
        "original_sha256": ["s", "s", "s", None, None],
        "phash": ["00000000000000ff", "ff00000000000000", None, "", "nonsense"],
    }
)


def test_columns():
    rows = make_rows(TABLE, np.zeros((5, 2)))
    assert rows.uid.tolist() == ["a", "b", "c", "d", "e"]
    assert rows.caption.to_pylist() == ["x", "", "z", "", "y"]
    assert rows.width.tolist() == [2240, 2240, 2240, 10, 0]
    assert rows.height.tolist() == [2000, 2000, 2000, 20, 0]
    assert rows.held_out.tolist() == [False, False, True, False, True]
    # a picture is a URL in a split, and without one each pair is its own
    assert len({*rows.picture.tolist()}) == 4
    assert rows.picture[0] == rows.picture[1]
    assert rows.digest[0] == rows.digest[1] == rows.digest[2] != rows.digest[4] >= 0
    assert rows.digest[3] == -1


def test_hashes():
    code, hashed = read_hashes(TABLE["phash"].combine_chunks().fill_null(""))
    assert hashed.tolist() == [True, True, False, False, False]
    assert code.tolist()[:2] == [0xFF, 0xFF << 56]


def test_concepts_of_training_pairs_are_put_in_their_rows():
    rows = rows_of(4, split=["test", "train", "tune", "train"])
    named = csr_array(np.array([[True, False], [True, True]]))
    wide = with_concepts(rows, named, ["sky", "dog"])
    assert wide.named.toarray().tolist() == [
        [False, False],
        [True, False],
        [False, False],
        [True, True],
    ]
    assert wide.vocabulary == ["sky", "dog"]


def test_rows_of_a_run(world):
    rows = load_rows(read_indexed_pairs(world.pairs, world.index), world.features)
    assert rows.uid.tolist() == world.table["uid"].to_pylist()
    assert rows.hashed.all()
    assert (rows.width == 32).all()
    descriptor = rows.descriptor[np.arange(len(rows))].astype(np.float32)
    np.testing.assert_allclose(np.linalg.norm(descriptor, axis=1), 1, atol=1e-2)


def test_pairs_of_another_index(world, tmp_path):
    ids = pa.table(world.table.select(["uid", "shard", "key", "split"]))
    count = len(ids) - 1
    columns = {"row": pa.array(range(count)), "fold": pa.array([-1] * count, pa.int32())}
    ids = ids.slice(1)
    table = pa.table(
        {"row": columns["row"], **{n: ids[n] for n in ids.column_names}, "fold": columns["fold"]}
    )
    write_table(table, tmp_path / "ids.parquet")
    with pytest.raises(UserError, match=r"pairs: of other pairs than .*; run `dvc repro index`"):
        read_indexed_pairs(world.pairs, tmp_path)
