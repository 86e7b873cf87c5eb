import json
import logging
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from captionseg.curation import pipeline
from captionseg.curation.cocu import CoCu
from captionseg.curation.marked import Inputs
from captionseg.curation.measure import measure
from captionseg.curation.rules import CurateParams
from captionseg.datasets.pair_tables import read_truth
from captionseg.encoders.text_space import TextSpace
from captionseg.marking.markers import MarksParams
from captionseg.records import MARKS, SUPERVISION, UserError
from captionseg.storage.folders import read_tables
from captionseg.supervision.parquet_files import read
from captionseg.text.vocabulary import VocabularyParams
from captionseg.typed import build
from tests.captionseg.supervision.rows import concepts_of

PARAMS = CurateParams(
    ["nouns", "cocu"],
    vocabulary=VocabularyParams(minimum=2),
    cocu=CoCu(neighbours=8, minimum_support=2),
)


def inputs_of(world) -> Inputs:
    return Inputs(world.pairs, world.index, world.features)


def test_each_rule_has_a_table_a_shard(world):
    train = [
        u
        for u, s in zip(
            world.table["uid"].to_pylist(), world.table["split"].to_pylist(), strict=True
        )
        if s == "train"
    ]
    for rule in ("nouns", "cocu"):
        files = sorted((world.supervision / rule).iterdir())
        assert [f.name for f in files] == ["00000.parquet", "00001.parquet"]
        assert pq.read_table(files[0]).schema == SUPERVISION
        assert read_tables(world.supervision / rule)["uid"].to_pylist() == train


def test_the_vocabulary_is_written_beside_them(world):
    folder = world.supervision / "vocabulary"
    table = pq.read_table(folder / "concepts.parquet")
    captions = [
        c
        for c, s in zip(
            world.table["caption"].to_pylist(), world.table["split"].to_pylist(), strict=True
        )
        if s == "train"
    ]
    for text, count in zip(
        *(table[name].to_pylist() for name in ("text", "captions")), strict=True
    ):
        assert count == sum(text in caption.split() for caption in captions)
    assert table["captions"].to_pylist() == sorted(table["captions"].to_pylist(), reverse=True)
    embedding = np.load(folder / "embedding.npy")
    assert embedding.shape == (6, 16)
    assert json.loads((folder / "lemma.json").read_text())["dog"] == "dog"


def test_what_captions_leave_out_is_recovered_from_neighbours(world):
    nouns, cocu = world.measures["nouns"], world.measures["cocu"]
    assert nouns["recall_unnamed"] == 0.0
    assert cocu["recall_unnamed"] > 0.5
    assert nouns["precision"] == 1.0


def test_measures_are_those_of_the_written_tables(world):
    written = read(world.supervision / "nouns")
    named = [set(row) for row in written.to_texts()]
    true = {uid: row | {"grass"} for uid, row in zip(written.uid, named, strict=True)}
    expected = sum(map(len, named)) / sum(map(len, true.values()))
    assert measure(written, true, named, sampled=3, seed=0)["recall"] == pytest.approx(expected)
    assert world.measures["nouns"]["concepts_per_image"] == pytest.approx(
        sum(map(len, named)) / len(named)
    )


def test_the_second_time_gives_the_same_bytes(world, tmp_path, caplog):
    encode = TextSpace.load(world.encoder).encode
    with caplog.at_level(logging.INFO, "captionseg.curation.pipeline"):
        measures = pipeline.curate(
            inputs_of(world), encode, PARAMS, known=pipeline.Known(), supervision=tmp_path, seed=0
        )
    assert measures["nouns"].keys() == {"concepts_per_image", "kept"}
    assert "nouns: kept 35 of 35" in caplog.text
    for file in sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file()):
        assert (tmp_path / file).read_bytes() == (world.supervision / file).read_bytes(), file


def test_a_table_that_is_lost_on_the_way_stops_the_stage(world, tmp_path, monkeypatch):
    encode, real = TextSpace.load(world.encoder).encode, pipeline.spread

    def spread(*arguments, **named):
        found = list(real(*arguments, **named))
        (tmp_path / "cocu" / "00001.parquet").unlink()
        yield from found

    monkeypatch.setattr(pipeline, "spread", spread)
    with pytest.raises(
        UserError, match=r"curate: .*cocu/00001.parquet: missing, or torn; nothing is put in place"
    ):
        pipeline.curate(
            inputs_of(world), encode, PARAMS, known=pipeline.Known(), supervision=tmp_path, seed=0
        )


def test_a_variant_is_written_under_its_own_name(world, tmp_path):
    params = replace(PARAMS, rules=["flat"], variants={"flat": {"rule": "cocu", "clusters": 0}})
    encode = TextSpace.load(world.encoder).encode
    measures = pipeline.curate(
        inputs_of(world), encode, params, known=pipeline.Known(), supervision=tmp_path, seed=0
    )
    folders = tmp_path / "flat", world.supervision / "cocu"
    flat, full = (concepts_of(read(folder)) for folder in folders)
    assert set(measures) == {"flat"}
    assert {c.rule for row in flat for c in row} == {"flat"}
    assert {c.cluster for row in flat for c in row} == {-1}
    assert [[replace(c, rule="cocu", cluster=0) for c in row] for row in flat] == [
        [replace(c, cluster=0) for c in row] for row in full
    ]


NOTHING = pipeline.Known()


def curate(world, folder, known=NOTHING, **marks) -> dict[str, dict[str, float]]:
    params = replace(PARAMS, marks=build(MarksParams, marks, "curate.marks"))
    encode = TextSpace.load(world.encoder).encode
    return pipeline.curate(
        inputs_of(world), encode, params, known=known, supervision=folder, seed=0
    )


def test_marks_are_the_same_for_every_rule_and_counted(world, tmp_path, caplog):
    with caplog.at_level(logging.INFO, "captionseg.curation.pipeline"):
        measures = curate(world, tmp_path, length={"min_words": 4}, near={"distance": 0})
    table = pq.read_table(tmp_path / "marks" / "marks.parquet")
    assert table.schema == MARKS
    marked = dict(zip(table["uid"].to_pylist(), table["reason"].to_pylist(), strict=True))
    kinds = Counter(table["kind"].to_pylist())
    names = ("caption_short", "caption_long", "near_duplicate", "leak")
    assert measures["dropped"] == {kind: kinds[kind] for kind in names}
    assert kinds["caption_short"] == sum(why == "caption of 2 words" for why in marked.values()) > 0
    for rule in ("nouns", "cocu"):
        found = read(tmp_path / rule)
        reasons = dict(zip(found.uid, found.drop_reason, strict=True))
        assert {uid: why for uid, why in reasons.items() if why} == marked
        assert found.kept.tolist() == [uid not in marked for uid in found.uid]
        assert measures[rule]["kept"] == pytest.approx(1 - len(marked) / len(found))
    assert f"nouns: kept {35 - len(marked)} of 35, {kinds['caption_short']} capt" in caplog.text


def test_a_caption_that_is_marked_names_nothing(world, tmp_path):
    curate(world, tmp_path, length={"min_words": 4})
    nouns = read(tmp_path / "nouns")
    assert [bool(row) for row in nouns.to_texts()] == nouns.kept.tolist()
    before, after = (
        pq.read_table(folder / "vocabulary" / "concepts.parquet").to_pylist()
        for folder in (world.supervision, tmp_path)
    )
    assert sum(row["captions"] for row in after) < sum(row["captions"] for row in before)
    # pictures are still recognised by their neighbours' captions
    cocu = read(tmp_path / "cocu")
    assert any(texts for texts, kept in zip(cocu.to_texts(), cocu.kept, strict=True) if not kept)


def test_copies_of_test_pictures_are_no_training_data(world, tmp_path):
    measures = curate(world, tmp_path, semantic={"similarity": 0.9})
    table = pq.read_table(tmp_path / "marks" / "marks.parquet").to_pylist()
    split = dict(zip(world.table["uid"].to_pylist(), world.table["split"].to_pylist(), strict=True))
    assert measures["dropped"]["leak"] == sum(row["kind"] == "leak" for row in table) > 0
    for row in table:
        assert split[row["uid"]] == "train"
        assert (row["kind"] == "leak") == (split[row["twin"]] != "train")


def test_without_markers_nothing_is_marked(world):
    assert "dropped" not in world.measures
    table = pq.read_table(world.supervision / "marks" / "marks.parquet")
    assert table.equals(MARKS.empty_table())


def test_measures_are_over_the_pairs_that_no_marker_marks(world, tmp_path):
    table = read_truth(world.truth)
    true = {row["uid"]: set(row["concepts"]) for row in table.to_pylist()}
    held_out = {uid: ["a dog, a cat and a bird"] for uid in true}
    known = pipeline.Known(true, held_out)
    every = curate(world, tmp_path / "every", known)
    some = curate(world, tmp_path / "some", known, length={"min_words": 4})
    assert world.measures["nouns"]["recall"] == every["nouns"]["recall"] < 1
    assert some["nouns"]["recall"] == 1  # the longer captions name both things that are there
    kept = read(tmp_path / "some" / "nouns").kept.sum()
    assert some["nouns"]["held_out"]["pictures"] == kept < every["nouns"]["held_out"]["pictures"]
