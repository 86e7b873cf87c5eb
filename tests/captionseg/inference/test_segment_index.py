"""Segments by text: against brute force, what is made anew and what is not, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from captionseg.arrays import ShardedArray
from captionseg.grids import shares
from captionseg.inference import segment_embedding as module
from captionseg.inference import segment_index
from captionseg.inference.segment_embedding import group_batches
from captionseg.inference.segment_index import SegmentIndex, open_index
from captionseg.inference.segment_model import SegmentModel
from captionseg.modeling.segment_mil import SegmentMil, SegmentMilConfig
from captionseg.modeling.weights import saved
from captionseg.records import SEGMENTS, UserError
from captionseg.retrieval.exact import ExactIndex
from captionseg.retrieval.faiss import FaissIndex
from captionseg.segment_text.rle import decode
from captionseg.storage.folders import read_tables
from captionseg.storage.writing import write_table

ROOT = Path(__file__).parents[3]
NAMES = ["dog", "cat", "bird", "grass", "sand", "water"]


@pytest.fixture(scope="module")
def model(searchable) -> SegmentModel:
    return SegmentModel.load(searchable.model, device="cpu")


@pytest.fixture
def segments(searchable, tmp_path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(searchable.segments, tmp_path / "segments"))


@pytest.fixture
def opened(searchable, segments, model, tmp_path, monkeypatch):
    """() -> the index, and the shards that were embedded for it."""

    def make(**changes) -> tuple[SegmentIndex, list[str]]:
        seen = []
        monkeypatch.setattr(
            module, "embed_shard", lambda file, *rest: seen.append(file.stem) or real(file, *rest)
        )
        return open_index(
            tmp_path / "index", segments, changes.get("model", model), searchable.prepared
        ), seen

    real = module.embed_shard
    return make


def brute_force(searchable, model) -> np.ndarray:
    """[N, D] segment by segment, masks as shares of the dense grid."""
    dense = ShardedArray.of_folder(searchable.prepared.features / "dense")
    ids = pq.read_table(searchable.prepared.index / "ids.parquet")["uid"].to_pylist()
    out = []
    for row in read_tables(searchable.segments).to_pylist():
        cells = torch.from_numpy(shares(decode([row["rle"]], row["height"], row["width"]), (4, 4)))
        maps = torch.from_numpy(dense[np.array([ids.index(row["uid"])])].astype(np.float32))
        with torch.inference_mode():
            out.append(model.loaded.model.embed(maps, cells[None])[0, 0].numpy())
    return np.stack(out)


def test_it_finds_what_a_search_over_all_segments_finds(searchable, model, opened):
    index, seen = opened()
    assert seen == ["00000", "00001", "00002"]
    every = brute_force(searchable, model)
    assert len(index) == len(every) == len(searchable.classes)
    exact = ExactIndex(every)
    for query in model.texts([*NAMES, "a dog on the grass"]):
        found = index.search(query, len(every))
        score, rows = exact.search(query[None], len(every))
        # float16 on disk
        np.testing.assert_allclose([hit.score for hit in found], score[0], atol=2e-3)
        best = np.sort(rows[0][score[0] > score[0][9] + 4e-3])
        table = {
            row["segment_id"]: n
            for n, row in enumerate(read_tables(searchable.segments).to_pylist())
        }
        assert set(best) <= {table[hit.segment["segment_id"]] for hit in found[:10]}
        assert [hit.rank for hit in found] == list(range(1, len(every) + 1))


def test_words_find_segments_of_their_class(searchable, model, opened):
    index, _ = opened()
    for number, (name, query) in enumerate(zip(NAMES, model.texts(NAMES), strict=True)):
        hits = index.search(query, 5)
        assert [hit.segment["texts"][1]["text"] for hit in hits] == [f"a {name}"] * 5
        assert sorted(hits, key=lambda hit: -hit.score) == hits
        few = index.search(query, 1000, min_score=hits[2].score)
        assert few[:3] == hits[:3]
        assert all(hit.score >= hits[2].score for hit in few)
        assert len(index.search(query, 1000)) == len(searchable.classes)
        assert searchable.classes.count(number) >= 5
    assert index.search(query, 3, min_score=1.1) == []


def test_texts_are_means_over_the_four_templates(model):
    said = [
        "a photo of a dog",
        "This is a photo of a dog",
        "There is a dog in the scene",
        "a photo of a dog in the scene",
    ]
    mean = model.loaded.frozen().text(said).mean(0)
    np.testing.assert_allclose(model.texts(["a dog"])[0], mean / np.linalg.norm(mean), atol=1e-6)


def test_what_lies_in_the_folder(searchable, opened, tmp_path):
    index, _ = opened()
    assert sorted(p.name for p in (tmp_path / "index").iterdir()) == sorted(
        [f"embeddings_0000{n}.{kind}" for n in range(3) for kind in ("json", "npy")]
        + ["ids.parquet", "index.faiss", "index.json"]
    )
    every = [np.load(tmp_path / "index" / f"embeddings_0000{n}.npy") for n in range(3)]
    assert [part.shape for part in every] == [(45, 16), (0, 16), (len(index) - 45, 16)]
    assert every[0].dtype == np.float16
    np.testing.assert_allclose(np.linalg.norm(every[0].astype(np.float32), axis=1), 1.0, atol=1e-3)
    ids = pq.read_table(tmp_path / "index" / "ids.parquet").to_pydict()
    table = read_tables(searchable.segments)
    assert ids == {
        "row": list(range(len(index))),
        "uid": table["uid"].to_pylist(),
        "segment_id": table["segment_id"].to_pylist(),
        "shard": ["00000"] * 45 + ["00002"] * (len(index) - 45),
    }
    state = json.loads((tmp_path / "index" / "index.json").read_text())
    assert (state["count"], state["dims"], set(state["segments"])) == (
        len(index),
        16,
        {"00000", "00001", "00002"},
    )


def test_a_fresh_index_is_used_again_and_a_stale_one_made_anew(opened, segments, model, tmp_path):
    first, _ = opened()
    before = (tmp_path / "index" / "index.faiss").stat().st_mtime_ns
    assert opened()[1] == []
    assert (tmp_path / "index" / "index.faiss").stat().st_mtime_ns == before
    table = pq.read_table(segments / "00002.parquet")
    write_table(table.slice(0, len(table) - 3), segments / "00002.parquet")
    shorter, seen = opened()
    assert (len(shorter), seen) == (len(first) - 3, ["00002"])
    (segments / "00001.parquet").unlink()
    assert opened()[1] == []  # nothing is embedded
    assert not list((tmp_path / "index").glob("embeddings_00001*"))
    folder = Path(shutil.copytree(model.loaded.folder, tmp_path / "other"))
    saved.save(folder, "use", model.loaded.model, {"seed": 1})
    assert opened(model=SegmentModel.load(folder, device="cpu"))[1] == ["00000", "00002"]
    (tmp_path / "index" / "ids.parquet").unlink()
    assert opened(model=SegmentModel.load(folder, device="cpu"))[1] == []
    assert (tmp_path / "index" / "ids.parquet").exists()


def test_segments_are_embedded_anew_by_other_code(opened, monkeypatch):
    opened()
    assert opened()[1] == []
    monkeypatch.setattr(segment_index, "hash_code", lambda: "of another version")
    assert opened()[1] == ["00000", "00001", "00002"]


def test_a_killed_run_goes_on_from_its_last_finished_shard(searchable, segments, opened, tmp_path):
    """kill -9 between the embeddings of the last shard and the mark that it is finished."""
    program = f"""
import os, signal
from pathlib import Path
from captionseg.encoders.encoders import ENCODERS
from captionseg.inference import segment_embedding as module
from captionseg.inference.prepared_folders import PreparedFolders
from captionseg.inference.segment_index import open_index
from captionseg.inference.segment_model import SegmentModel
from tests.captionseg.conftest import ToyParams
ENCODERS["toy"] = ToyParams
real = module.write_json
def write(value, path):
    if path.name == "embeddings_00002.json":
        (path.parent / ".index.faiss.1.part").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    real(value, path)
module.write_json = write
data = Path({str(searchable.data)!r})
prepared = PreparedFolders(*(data / n for n in ("pairs", "index", "regions", "features")))
model = SegmentModel.load(Path({str(searchable.model)!r}), device="cpu")
open_index(Path({str(tmp_path / "index")!r}), Path({str(segments)!r}), model, prepared)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
    left = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "index").iterdir()}
    assert {"embeddings_00000.json", "embeddings_00002.npy", ".index.faiss.1.part"} <= left.keys()
    assert "index.json" not in left
    index, seen = opened()
    assert seen == ["00002"]
    assert (tmp_path / "index" / "embeddings_00000.npy").stat().st_mtime_ns == left[
        "embeddings_00000.npy"
    ]
    assert not list((tmp_path / "index").glob(".*"))
    assert len(index) == len(searchable.classes)


def test_equal_segments_come_in_row_order(monkeypatch):
    monkeypatch.setattr(
        SegmentIndex, "segments", lambda self, rows: [{"row": int(row)} for row in rows]
    )
    vectors = np.array([[0.0, 1], [1, 0], [0, 1], [1, 0]], np.float32)
    for kind in (ExactIndex, FaissIndex):
        index = SegmentIndex(kind(vectors), pa.table({"shard": ["a"] * 4}), Path())
        found = index.search(np.array([1.0, 0.5], np.float32), 9)
        assert [hit.segment["row"] for hit in found] == [1, 3, 0, 2]
        assert [hit.score for hit in found] == [1.0, 1.0, 0.5, 0.5]


def test_batches_are_of_one_size_and_no_larger_than_they_may_be(monkeypatch):
    monkeypatch.setattr(module, "PIXELS", 60)
    monkeypatch.setattr(module, "PICTURES", 3)
    uids = list("aabbbcdefgg")
    sizes = [(4, 5)] * 2 + [(2, 5)] * 3 + [(2, 2)] * 6
    found = list(group_batches(uids, sizes))
    assert found == [[(0, 2)], [(2, 5)], [(5, 6), (6, 7), (7, 8)], [(8, 9), (9, 11)]]
    assert list(group_batches(["a"] * 5, [(4, 5)] * 5)) == [[(0, 3)], [(3, 5)]]  # 3 * 20 pixels
    assert list(group_batches(["a"] * 2, [(100, 100)] * 2)) == [[(0, 1)], [(1, 2)]]
    assert list(group_batches([], [])) == []


def test_how_segments_are_batched_changes_nothing(opened, searchable, monkeypatch, tmp_path):
    opened()
    before = [np.load(tmp_path / "index" / f"embeddings_0000{n}.npy") for n in (0, 2)]
    shutil.rmtree(tmp_path / "index")
    monkeypatch.setattr(module, "PICTURES", 1)
    monkeypatch.setattr(module, "PIXELS", 1)
    opened()
    for number, part in zip((0, 2), before, strict=True):
        found = np.load(tmp_path / "index" / f"embeddings_0000{number}.npy")
        np.testing.assert_allclose(found.astype(np.float32), part.astype(np.float32), atol=2e-3)


def test_what_is_torn_is_made_again_with_a_line(opened, tmp_path, caplog):
    opened()
    folder = tmp_path / "index"
    whole = {p.name: p.read_bytes() for p in folder.iterdir()}
    for file, made in (
        ("index.faiss", []),
        ("ids.parquet", []),
        ("embeddings_00001.npy", ["00001"]),
    ):
        caplog.clear()
        (folder / file).write_bytes(whole[file][:-50])
        if made:  # looked at only when the rest is not there
            (folder / "index.json").unlink()
        _, seen = opened()
        assert seen == made
        assert {p.name: p.read_bytes() for p in folder.iterdir()} == whole
        assert len(caplog.messages) == (0 if made else 1)


def test_what_cannot_be_searched_is_one_line(searchable, segments, opened, model, tmp_path):
    net = SegmentMil(SegmentMilConfig(8, 16, hidden=8, width=4))
    saved.save(tmp_path / "mil", "segment_mil", net, {})
    with pytest.raises(UserError, match="model segment_mil cannot embed segments"):
        SegmentModel.load(tmp_path / "mil")
    with pytest.raises(UserError, match="no such file; train a model first"):
        SegmentModel.load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="nowhere: no segments; run"):
        open_index(tmp_path / "i", tmp_path / "nowhere", model, searchable.prepared)
    write_table(SEGMENTS.empty_table(), tmp_path / "empty" / "00000.parquet")
    with pytest.raises(UserError, match="empty: no segments; run"):
        open_index(tmp_path / "i", tmp_path / "empty", model, searchable.prepared)
    write_table(pa.table({"uid": ["a"]}), tmp_path / "strange" / "00000.parquet")
    with pytest.raises(
        UserError, match=r"not a shard of segments \(no height, rle, segment_id, width\)"
    ):
        open_index(tmp_path / "i", tmp_path / "strange", model, searchable.prepared)
    row = pq.read_table(segments / "00000.parquet").slice(0, 1).to_pylist()[0]
    write_table(
        pa.Table.from_pylist([{**row, "uid": "elsewhere"}], schema=SEGMENTS),
        segments / "00000.parquet",
    )
    with pytest.raises(UserError, match="picture elsewhere is not in the index"):
        opened()
    (segments / "00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"00000.parquet: cannot be read"):
        opened()
    with pytest.raises(UserError, match=r"ids.parquet: no such file"):
        open_index(
            tmp_path / "i", searchable.segments, model, replace(searchable.prepared, index=tmp_path)
        )
    assert not (tmp_path / "i").exists()
