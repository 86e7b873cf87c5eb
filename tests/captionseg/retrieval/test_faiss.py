import re
from typing import ClassVar

import faiss
import numpy as np
import pytest

from captionseg.arrays import Rows
from captionseg.encoders.encoder import normalise
from captionseg.records import UserError
from captionseg.retrieval import faiss as module
from captionseg.retrieval.faiss import FaissIndex, choose_key, draw_sample
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


@pytest.mark.parametrize(
    ("count", "width", "memory", "gpu", "key"),
    [
        (99_999, 512, 16, False, "Flat"),
        (100_000, 512, 16, False, "HNSW32"),
        (200_000, 3840, 16, False, "HNSW32"),
        (250_000, 512, 16, False, "IVF2000,Flat"),
        (4_000_000, 512, 16, False, "IVF8000,Flat"),  # 7.6 GiB
        (4_000_000, 3840, 16, False, "IVF8000,SQ8"),  # 14.3 of 57.2 GiB
        (4_000_000, 3840, 8, False, "IVF8000,PQ960"),  # 3.6 GiB
        (90_000, 3840, 1, False, "IVF1200,SQ8"),  # 1.3 GiB do not fit
        (4_000_000, 30, 0.05, False, "IVF8000,PQ6"),  # the parts are of equal width
        (900_000, 512, 16, True, "Flat"),
        (4_000_000, 512, 16, True, "IVF8000,Flat"),
    ],
)
def test_the_key_follows_from_the_size(count, width, memory, gpu, key):
    assert choose_key(count, width, memory, gpu=gpu) == key
    assert faiss.index_factory(width, key, faiss.METRIC_INNER_PRODUCT).d == width


@pytest.mark.parametrize("key", ["IVF20,Flat", "IVF20,SQ8"])
def test_keys_of_large_corpora_can_be_built_and_find_most(key):
    rng = np.random.default_rng(0)
    vectors = normalise(rng.normal(size=(40, 24))[rng.integers(40, size=2000)] * 2)
    vectors = normalise(vectors + 0.1 * rng.normal(size=vectors.shape))
    assert recall(FaissIndex(vectors, key), vectors, vectors, 20) > 0.9


def test_vectors_are_read_by_block_and_lists_trained_on_a_sample(monkeypatch):
    class Counted(Rows):
        read: ClassVar[list[int]] = []

        def __getitem__(self, positions):
            self.read.append(len(positions))
            return super().__getitem__(positions)

    monkeypatch.setattr(module, "BLOCK", 64)
    monkeypatch.setattr(module, "LEAST", 90)
    monkeypatch.setattr(module, "SAMPLE", 40)
    index = FaissIndex(Counted(VECTORS), "IVF3,Flat")
    assert Counted.read == [120, 64, 64, 64, 8]  # 40 rows for each of three lists
    assert index.index.ntotal == 200
    rows = Rows(np.arange(200.0)[:, None])
    np.testing.assert_array_equal(draw_sample(rows, 2, 16)[:3, 0], [0, 2, 4])  # evenly spaced
    assert len(draw_sample(rows, 2, 4 * 4 * 50 / 2**30)) == 50  # a quarter of the memory
    assert len(draw_sample(rows, 99, 16)) == 200


def test_of_very_many_lists_no_quarter_is_searched():
    index = FaissIndex(np.random.default_rng(0).normal(size=(3000, 4)), "IVF300,Flat")
    index.search(VECTORS[:1, :4], 1)
    assert faiss.extract_index_ivf(index.index).nprobe == 64


class Gpu:
    """Stands for the part of faiss that only its build for GPUs has."""

    def __init__(self, monkeypatch):
        self.copies, self.settings = [], []
        monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
        monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", self.copy)
        monkeypatch.setattr(faiss, "GpuParameterSpace", lambda: self, raising=False)

    def copy(self, index):
        self.copies.append(faiss.clone_index(index))
        return self.copies[-1]

    def set_index_parameter(self, index, name, value):
        assert index is self.copies[-1]
        faiss.ParameterSpace().set_index_parameter(index, name, value)


def test_lists_are_searched_on_gpus_and_graphs_are_not(monkeypatch):
    gpu = Gpu(monkeypatch)
    monkeypatch.setattr(module, "GPU_FLAT_LIMIT", 100)
    index = FaissIndex(VECTORS)  # IVF57
    assert index.on_gpu
    score, rows = index.search(VECTORS[:5], 3)
    assert faiss.extract_index_ivf(gpu.copies[0]).nprobe == 15
    np.testing.assert_array_equal(gpu.copies[0].search(VECTORS[:5], 3)[1], rows)
    assert score.shape == (5, 3)
    assert not FaissIndex(VECTORS, "HNSW8").on_gpu
    assert len(gpu.copies) == 1
    monkeypatch.setattr(module, "GPU_FLAT_LIMIT", 1000)
    assert FaissIndex(VECTORS).exact
