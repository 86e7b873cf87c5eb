"""Searches by blocks of queries: those of `find_neighbours`, continued where they were killed."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest

from captionseg.arrays import Rows
from captionseg.encoders.encoder import normalise
from captionseg.index_params import IndexParams
from captionseg.neighbours import open_search
from captionseg.retrieval import blocks
from captionseg.retrieval.exact import ExactIndex
from captionseg.retrieval.faiss import FaissIndex
from captionseg.retrieval.index import find_neighbours
from captionseg.runtime.fan_out import PerProcess

VECTORS = normalise(np.random.default_rng(0).normal(size=(50, 6)))
INDEXED, PICTURE = np.arange(0, 50, 2), np.arange(50) // 4


def search(folder: Path, index) -> list[tuple[np.ndarray, ...]]:
    found = blocks.search_blocks(
        blocks.Searched(index, INDEXED, PICTURE, 2),
        PerProcess(lambda: Rows(VECTORS)),
        5,
        load=lambda path: pytest.fail(str(path)),
        folder=folder,
        similarities=True,
        runtime=blocks.HERE,
    )
    return [tuple(map(np.array, part)) for part in found]


def test_blocks_together_are_the_whole(monkeypatch, tmp_path):
    monkeypatch.setattr(blocks, "BLOCK", 16)
    index = ExactIndex(VECTORS[INDEXED])
    parts = search(tmp_path, index)
    assert [len(near) for near, _ in parts] == [16, 16, 16, 2]
    whole = find_neighbours(index, INDEXED, VECTORS, 5, picture=PICTURE, starts=range(0, 50, 16))
    for (near, similarity), (ours, score) in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(ours, near)
        np.testing.assert_array_equal(score, similarity.astype(np.float16))
    assert {part[0].dtype for part in parts} == {np.dtype(np.int32)}


def test_a_search_that_was_killed_goes_on_with_its_index(monkeypatch, tmp_path):
    """A graph that is built again would be another."""
    monkeypatch.setattr(blocks, "BLOCK", 16)
    params, vectors = IndexParams(faiss_key="HNSW8"), Rows(VECTORS[INDEXED])
    index, real = open_search(vectors, params, tmp_path), FaissIndex.search
    monkeypatch.setattr(
        FaissIndex,
        "search",
        lambda self, q, k: pytest.fail("no more") if len(q) < 16 else real(self, q, k),
    )
    with pytest.raises(pytest.fail.Exception, match="no more"):
        search(tmp_path, index)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npy")}
    assert len(kept) == 6
    monkeypatch.setattr(FaissIndex, "search", real)
    monkeypatch.setattr(FaissIndex, "__init__", lambda *_, **__: pytest.fail("built again"))
    again = open_search(vectors, params, tmp_path)
    assert isinstance(again, FaissIndex)
    assert again.effort == params.effort
    parts = search(tmp_path, again)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert [len(near) for near, _ in parts] == [16, 16, 16, 2]


@pytest.mark.parametrize("key", ["Flat", "HNSW8", "IVF3,Flat", "PCA4,IVF3,SQ8"])
def test_a_mapped_index_finds_the_same(key, tmp_path):
    index = FaissIndex(VECTORS, key)
    index.save(tmp_path / "index")
    mapped = FaissIndex.load(tmp_path / "index", index.effort, shared=True)
    assert mapped.exact == index.exact
    for before, after in zip(index.search(VECTORS, 9), mapped.search(VECTORS, 9), strict=True):
        np.testing.assert_array_equal(before, after)


def test_exact_search_maps_its_vectors(tmp_path):
    load = functools.partial(IndexParams(backend="exact").load_search, shared=True)
    ExactIndex(VECTORS).save(tmp_path / "index")
    mapped = load(tmp_path / "index")
    assert isinstance(mapped, ExactIndex)
    assert isinstance(mapped.vectors.base, np.memmap)
    for before, after in zip(
        ExactIndex(VECTORS).search(VECTORS, 9), mapped.search(VECTORS, 9), strict=True
    ):
        np.testing.assert_array_equal(before, after)
