import re

import faiss
import numpy as np
import pytest

from captionseg.encoders.encoder import normalise
from captionseg.records import UserError
from captionseg.retrieval import faiss as module
from captionseg.retrieval.faiss import FaissIndex
from captionseg.retrieval.index import Effort, recall

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
    for before, after in zip(
        index.search(VECTORS[:3], 4), again.search(VECTORS[:3], 4), strict=True
    ):
        np.testing.assert_array_equal(before, after)
    (tmp_path / "image.index").write_bytes(b"nothing")
    with pytest.raises(
        UserError, match=r"image.index: faiss cannot read it: .*; delete it"
    ) as caught:
        FaissIndex.load(tmp_path / "image.index")
    assert "\n" not in str(caught.value)


def test_a_graph_finds_many_neighbours_too():
    """faiss itself looks at 16 candidates, whatever it is asked for: 0.64 of these."""
    vectors = normalise(np.random.default_rng(0).normal(size=(3000, 48)))
    index = FaissIndex(vectors, "HNSW32")
    assert not index.exact
    assert recall(index, vectors, vectors, 257) > 0.95
    index.widen(257)
    assert faiss.downcast_index(index.index).hnsw.efSearch == 514


@pytest.mark.parametrize(
    ("key", "effort", "k", "expected"),
    [
        ("IVF64,Flat", Effort(), 10, 16),  # a quarter of the lists
        ("IVF64,Flat", Effort(), 150, 39),  # 16 x 150 of 4000 rows, 62.5 a list
        ("IVF64,Flat", Effort(nprobe=3), 150, 3),
        ("PCA4,IVF64,Flat", Effort(), 10, 16),
        ("IVF64,Flat", Effort(nprobe=99), 10, 64),
    ],
)
def test_lists_that_are_looked_into(key, effort, k, expected):
    index = FaissIndex(np.random.default_rng(0).normal(size=(4000, 8)), key, effort)
    index.search(VECTORS[:1], k)
    assert faiss.extract_index_ivf(index.index).nprobe == expected


def test_what_is_asked_for_is_what_a_loaded_graph_does_too(tmp_path):
    FaissIndex(VECTORS, "HNSW8", Effort(ef_search=77)).save(tmp_path / "index")
    index = FaissIndex.load(tmp_path / "index")
    index.search(VECTORS[:1], 90)
    assert faiss.downcast_index(index.index).hnsw.efSearch == 180
    asked = FaissIndex(VECTORS, "HNSW8", Effort(ef_search=77))
    asked.search(VECTORS[:1], 90)
    assert faiss.downcast_index(asked.index).hnsw.efSearch == 77
