"""The stages that spread shards write the same bytes whoever writes them, and go on where they were
killed.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fan_out_jobs import Colours, Deadly, load_deadly

from captionseg.arrays import Rows, ShardedArray
from captionseg.captioners.captioners import CaptionParams
from captionseg.captioners.corpus_captions import write_captions
from captionseg.curation import shards
from captionseg.curation.cocu import CoCu
from captionseg.curation.marked import Inputs as Curated
from captionseg.curation.pipeline import Known, curate
from captionseg.curation.rules import CurateParams
from captionseg.datasets.download import write_shards
from captionseg.datasets.ids import count_shard_rows, number_shards
from captionseg.datasets.pair_tables import read_pairs
from captionseg.extraction import extract
from captionseg.feature_reuse import Stored
from captionseg.index_params import IndexParams
from captionseg.neighbours import open_embeddings, write_searches
from captionseg.records import UserError
from captionseg.regioning import write_regions
from captionseg.retrieval import blocks
from captionseg.retrieval.faiss import FaissIndex
from captionseg.runtime.fan_out import PerProcess
from captionseg.runtime.params import HERE, RuntimeParams
from captionseg.segment_text.params import SegmentTextParams
from captionseg.segment_text.pipeline import segment
from captionseg.segment_text.stage_inputs import Inputs
from captionseg.segmenters.felzenszwalb import Felzenszwalb
from captionseg.sources.shapes import Shapes
from captionseg.storage.folders import read_arrays
from captionseg.storage.writing import remove_parts, write_array
from captionseg.text.vocabulary import VocabularyParams

TWO = RuntimeParams(workers=2)
MAKER = Felzenszwalb(side=32, min_size=20)
RULES = CurateParams(
    ["nouns", "cocu", "cocu_calibrated"],
    vocabulary=VocabularyParams(minimum=2),
    cocu=CoCu(neighbours=8, minimum_support=2),
)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def download(data: SimpleNamespace, out: Path, runtime: RuntimeParams) -> object:
    return write_shards(
        Shapes(train=5, tune=2, test=2),
        out / "pairs",
        out / "truth",
        shard_size=3,
        min_success=0.5,
        seed=0,
        runtime=runtime,
    )


def index(
    data: SimpleNamespace, out: Path, runtime: RuntimeParams, encoder: Callable = Colours
) -> object:
    stored = Stored(data.regions, dense=True)
    return extract(data.table, data.pairs, PerProcess(encoder), out, stored=stored, runtime=runtime)


def searches(data: SimpleNamespace, out: Path, runtime: RuntimeParams) -> object:
    """By lists, all of which are looked into, for 16 pairs a job."""
    shards = count_shard_rows(data.table)
    write_array(read_arrays(data.index / "img_emb").astype(np.float32), out / "image.npy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK", 16)
        found = write_searches(
            data.table,
            out / "image.npy",
            Rows(ShardedArray.of_folder(data.index / "text_emb", number_shards(shards))),
            params=IndexParams(neighbours=8, faiss_key="IVF2,Flat", nprobe=2),
            features=data.features,
            index=out,
            runtime=runtime,
        )
    remove_parts(out)  # as stages/run.py does
    return found


def regions(data: SimpleNamespace, out: Path, runtime: RuntimeParams) -> object:
    return write_regions(data.pairs, out, maker=MAKER, runtime=runtime)


def curated(data: SimpleNamespace, out: Path, runtime: RuntimeParams) -> object:
    rules = replace(RULES, cocu_calibrated=replace(RULES.cocu_calibrated, neighbours=8))
    true = {uid: {"dog", "grass"} for uid in data.table["uid"].to_pylist()}
    return curate(
        Curated(data.pairs, data.index, data.features),
        data.words,
        rules,
        known=Known(true),
        supervision=out / "rules",
        seed=0,
        runtime=runtime,
    )


def segment_text(data: SimpleNamespace, out: Path, runtime: RuntimeParams) -> object:
    inputs = Inputs(
        data.pairs,
        data.captions,
        data.supervision,
        data.features,
        data.regions,
        lent=getattr(data, "lent", None),
    )
    return segment(
        inputs,
        SegmentTextParams("cocu", min_area=4),
        space=Colours,
        segments=out,
        seed=0,
        runtime=runtime,
    )


STAGES = {f.__name__: f for f in (download, index, searches, regions, curated, segment_text)}


@pytest.fixture(scope="module")
def data(world, tmp_path_factory) -> SimpleNamespace:
    """The folders of a finished run, and what each stage makes of them in one process."""
    from captionseg.encoders.text_space import TextSpace

    captions = tmp_path_factory.mktemp("captions")
    write_captions(world.pairs, CaptionParams(), captions)
    folders = {
        name: getattr(world, name)
        for name in ("pairs", "features", "index", "regions", "supervision")
    }
    found = SimpleNamespace(
        **folders,
        captions=captions,
        table=read_pairs(world.pairs),
        words=TextSpace.load(world.encoder).encode,
        whole={},
    )
    for name, stage in STAGES.items():
        out = tmp_path_factory.mktemp(name)
        found.whole[name] = stage(found, out, HERE), contents(out)
    return found


@pytest.mark.parametrize(
    ("stage", "how"), [*((stage, "ray") for stage in STAGES), ("curated", "two")]
)
def test_the_same_bytes_as_one_process(request, data, stage: str, how: str, tmp_path: Path) -> None:
    """Of the others by two processes: index below, download and regions in tests of their own."""
    runtime = TWO if how == "two" else replace(request.getfixturevalue("cluster"), workers=2)
    left = tmp_path / {"download": "truth", "curated": "rules"}.get(stage, "") / ".left.npy.1.part"
    left.parent.mkdir(exist_ok=True)
    left.touch()  # by a worker that was killed
    result, files = data.whole[stage]
    assert len(files) > 3
    assert STAGES[stage](data, tmp_path, runtime) == result
    assert contents(tmp_path) == files


def test_segments_are_the_same_if_dense_features_are_not_stored(
    data, tmp_path: Path, monkeypatch
) -> None:
    features = tmp_path / "features"
    features.mkdir()
    for part in data.features.iterdir():
        if part.name != "dense":
            (features / part.name).symlink_to(part)
    lean = SimpleNamespace(**{**vars(data), "features": features})
    assert segment_text(lean, tmp_path / "out", HERE) == data.whole["segment_text"][0]
    assert contents(tmp_path / "out") == data.whole["segment_text"][1]
    lean.lent = shutil.copytree(data.features / "dense", tmp_path / "dense")
    with monkeypatch.context() as patch:
        patch.setattr("captionseg.segment_text.pipeline.load_encoder", pytest.fail)
        segment_text(lean, tmp_path / "lent", HERE)
    assert contents(tmp_path / "lent") == data.whole["segment_text"][1]
    assert not lean.lent.exists()


def test_a_process_killed_at_a_shard_changes_nothing(data, tmp_path: Path) -> None:
    index(data, tmp_path / "out", TWO, functools.partial(Deadly, tmp_path / "mark"))
    assert (tmp_path / "mark").exists()
    assert contents(tmp_path / "out") == data.whole["index"][1]


def test_a_process_killed_at_a_block_of_queries_changes_nothing(data, tmp_path: Path) -> None:
    vectors, every = read_arrays(data.index / "img_emb").astype(np.float32), np.arange(51)
    write_array(vectors, tmp_path / "vectors.npy")
    found = []
    for name, runtime in (("one", HERE), ("two", TWO)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(blocks, "BLOCK", 16)
            parts = blocks.search_blocks(
                blocks.Searched(FaissIndex(vectors), every, every // 2, 2),
                PerProcess(functools.partial(open_embeddings, tmp_path / "vectors.npy")),
                8,
                load=functools.partial(load_deadly, tmp_path / "mark"),
                folder=tmp_path / name,
                similarities=True,
                runtime=runtime,
            )
            found.append([array.tobytes() for part in parts for array in part])
        assert (tmp_path / "mark").exists() == (runtime is TWO)
    assert found[0] == found[1]
    assert len(found[0]) == 8


def test_a_run_that_failed_keeps_the_shards_that_it_finished(data, tmp_path: Path) -> None:
    class Fails(Colours):
        def features(self, images):
            if any((tmp_path / "dense").glob("*.npy")):
                raise UserError("no more")
            return super().features(images)

    with pytest.raises(UserError, match="no more"):
        index(data, tmp_path, HERE, lambda: Fails())
    kept = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*_00000.*")}
    index(data, tmp_path, HERE)
    assert contents(tmp_path) == data.whole["index"][1]
    assert len(kept) == 4
    assert {p: p.stat().st_mtime_ns for p in kept} == kept


def test_curation_that_failed_goes_on_from_its_shards_and_fits_no_rule_again(
    data, tmp_path: Path, monkeypatch
) -> None:
    real = shards.supervise

    def fail(rule, *arguments, name: str, rows, **others):
        if name == "cocu_calibrated" and rows[0] > 0:
            raise UserError("no more")
        return real(rule, *arguments, name=name, rows=rows, **others)

    monkeypatch.setattr(shards, "supervise", fail)
    with pytest.raises(UserError, match="no more"):
        curated(data, tmp_path, HERE)
    names = ("nouns/00000", "nouns/00001", "cocu/00000", "cocu/00001", "cocu_calibrated/00000")
    kept = [tmp_path / "rules" / f"{name}.parquet" for name in names]
    times = [path.stat().st_mtime_ns for path in kept]
    monkeypatch.setattr(shards, "supervise", real)
    for rule in (type(RULES.cocu), type(RULES.cocu_calibrated)):
        monkeypatch.setattr(rule, "fit", lambda *_: pytest.fail("fitted again"))
    result, files = data.whole["curated"]
    assert curated(data, tmp_path, HERE) == result
    assert contents(tmp_path) == files
    assert [path.stat().st_mtime_ns for path in kept] == times
