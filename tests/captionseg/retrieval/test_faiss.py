import re

import faiss
import numpy as np
import pytest

from captionseg.records import UserError
from captionseg.retrieval import FaissIndex
from captionseg.retrieval import faiss as module

VECTORS = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)


@pytest.mark.parametrize("key", ["nonsense", "IVF300,Flat", "PQ7"])
def test_a_key_that_cannot_be_built_is_one_line(key):
    with pytest.raises(
        UserError, match=re.escape(f"index.faiss_key: faiss cannot build {key!r} over 200 rows")
    ) as caught:
        FaissIndex(VECTORS, key)
    assert "\n" not in str(caught.value)


def test_a_trained_index_finds_what_is_there():
    rows = FaissIndex(VECTORS, "IVF2,Flat").search(VECTORS[:5] * 10, 1)[1]
    assert (rows >= 0).all()


def test_small_corpora_are_searched_exactly_and_large_ones_by_a_graph(monkeypatch):
    assert isinstance(FaissIndex(VECTORS).index, faiss.IndexFlat)
    monkeypatch.setattr(module, "FLAT_LIMIT", 100)
    assert isinstance(FaissIndex(VECTORS).index, faiss.IndexHNSWFlat)


def test_the_file_is_what_faiss_reads(tmp_path):
    index = FaissIndex(VECTORS)
    index.save(tmp_path / "image.index")
    again = faiss.read_index(str(tmp_path / "image.index"))
    assert again.ntotal == 200
    np.testing.assert_array_equal(again.search(VECTORS[:3], 4)[1], index.search(VECTORS[:3], 4)[1])
    assert [p.name for p in tmp_path.iterdir()] == ["image.index"]


def test_a_saved_index_is_loaded_again_and_a_damaged_one_is_one_line(tmp_path):
    index = FaissIndex(VECTORS, "HNSW8")
    index.save(tmp_path / "image.index")
    again = FaissIndex.load(tmp_path / "image.index")
    for before, after in zip(index.search(VECTORS[:3], 4), again.search(VECTORS[:3], 4), strict=True):
        np.testing.assert_array_equal(before, after)
    (tmp_path / "image.index").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"image.index: faiss cannot read it; delete it") as caught:
        FaissIndex.load(tmp_path / "image.index")
    assert "\n" not in str(caught.value)
