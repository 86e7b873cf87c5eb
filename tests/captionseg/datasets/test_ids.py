"""Whose the rows of an index are."""

import hashlib
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from captionseg.datasets.ids import (
    count_index_shards,
    count_shard_rows,
    hash_ids,
    number_shards,
    read_ids,
    read_metadata,
    stream_ids,
)
from captionseg.records import UserError


def test_rows_of_shards_in_their_order(world):
    ids = read_ids(world.index)
    assert count_shard_rows(ids) == {"00000": 19, "00001": 16, "00002": 8, "00003": 8}
    assert number_shards({"x": 3, "a": 2}) == {"00000": 3, "00001": 2}
    assert count_index_shards(world.index) == count_shard_rows(ids)
    split = pa.array(["test", *ids["split"].to_pylist()[1:]])
    other = ids.set_column(4, "split", split)
    assert hash_ids(other.to_batches()) != hash_ids(ids.to_batches())


def test_the_hash_does_not_depend_on_the_parts_that_are_read(world):
    total = hashlib.sha256()
    for name in ("uid", "split"):
        total.update("\n".join(read_ids(world.index)[name].to_pylist()).encode())
    for size in (1, 7, 1000):
        assert hash_ids(stream_ids(world.index, size)) == total.hexdigest()[:16]
        assert pa.Table.from_batches(stream_ids(world.index, size)) == read_ids(world.index)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda t: t.take([1, 0, *range(2, len(t))]), "its rows are not numbered from 0 in order"),
        (
            lambda t: t.slice(0, 3).set_column(1, "uid", pa.array(["a", "b", "a"])),
            "a uid is there twice",
        ),
        (
            lambda t: t.slice(0, 3).set_column(2, "shard", pa.array(["x", "y", "x"])),
            "the rows of a shard do not stand",
        ),
        (
            lambda t: t.slice(0, 3).set_column(4, "split", pa.array(["train", None, "test"])),
            "missing in some row",
        ),
        (lambda t: t.drop_columns(["fold"]), "it has no column fold"),
    ],
)
def test_ids_that_are_not_those_of_an_index_are_refused(world, tmp_path, spoil, reason):
    pq.write_table(spoil(pq.read_table(world.index / "ids.parquet")), tmp_path / "ids.parquet")
    with pytest.raises(UserError, match=rf"ids.parquet: .*{reason}"):
        read_ids(tmp_path)


def test_captions_of_other_pairs_than_the_ids_are_refused(world, tmp_path):
    shutil.copytree(world.index / "metadata", tmp_path / "metadata")
    ids = read_ids(world.index)
    assert read_metadata(tmp_path, ids)["caption"].to_pylist() == world.table["caption"].to_pylist()
    path = tmp_path / "metadata" / "metadata_00001.parquet"
    table = pq.read_table(path)
    pq.write_table(table.take([1, 0, *range(2, len(table))]), path)
    with pytest.raises(UserError, match=r"metadata: of other pairs than .*ids.parquet"):
        read_metadata(tmp_path, ids)
