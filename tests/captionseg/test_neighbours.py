"""Index and neighbours of many rows, in little memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pyarrow as pa
import pytest

from captionseg.arrays import Rows
from captionseg.index_params import IndexParams
from captionseg.neighbours import write_index, write_neighbours
from captionseg.records import NEIGHBOURS, SIMILARITIES
from captionseg.retrieval.indexes import INDEXES
from captionseg.runtime.fan_out import PerProcess
from captionseg.storage.folders import map_arrays
from captionseg.storage.reading import read_array
from captionseg.storage.writing import write_array

ROWS, WIDTH, K = 200_000, 64, 16


class NextRows:
    """Stands for an index: the nearest rows of row i are i, i + 1, i + 2 ...; so little is
    computed.
    """

    exact = True

    def __init__(self, vectors, *_, **options):
        self.count = len(vectors)

    def search(self, queries, k):
        first = (queries[:, 0] * ROWS).round().astype(np.int64)
        found = (first[:, None] + np.arange(k)) % self.count
        return np.ones(found.shape, np.float32), found


@pytest.fixture
def many(tmp_path, monkeypatch):
    """A table of 200,000 pairs in ten shards, and [N, 64] descriptors in a file."""
    monkeypatch.setitem(INDEXES, "next", NextRows)
    number = pa.array(np.arange(ROWS)).cast(pa.string())
    pairs = pa.table(
        {name: number for name in ("uid", "key", "sha256", "caption", "url")}
        | {
            "split": pa.repeat("train", ROWS),
            "shard": pa.array(np.arange(ROWS) // 20_000).cast(pa.string()),
        }
    )
    vectors = np.zeros((ROWS, WIDTH), np.float32)
    vectors[:, 0] = np.arange(ROWS) / ROWS
    write_array(vectors, tmp_path / "vectors.npy")
    return pairs, Rows(read_array(tmp_path / "vectors.npy"))


def test_memory_does_not_grow_with_the_rows(many, tmp_path):
    """Of 51 MB of vectors and 13 MB of neighbours a small part is in memory at once; numbers of
    rows, folds and pictures are.
    """
    pairs, vectors = many
    params = IndexParams(backend="next", neighbours=K)
    tracemalloc.start()
    try:
        write_neighbours(
            "neighbours",
            pairs,
            queries=PerProcess(lambda: vectors),
            vectors=vectors,
            k=K,
            params=params,
            index=tmp_path,
        )
        write_index(pairs, vectors, vectors, np.zeros(ROWS, np.int32), tmp_path)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 16e6
    near = read_array(tmp_path / NEIGHBOURS)
    assert (near.shape, near.dtype) == ((ROWS, K), np.int32)
    np.testing.assert_array_equal(near[-2], np.r_[ROWS - 1, np.arange(K - 1)])
    similarity = read_array(tmp_path / SIMILARITIES)
    assert (similarity.shape, similarity.dtype) == ((ROWS, K), np.float16)
    assert [len(part) for part in map_arrays(tmp_path / "img_emb")] == [20_000] * 10
