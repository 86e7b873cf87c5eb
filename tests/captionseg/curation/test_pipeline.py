import json
import logging
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from captionseg.curation import pipeline
from captionseg.curation.cocu import CoCu
from captionseg.curation.measure import measure
from captionseg.curation.rules import CurateParams
from captionseg.encoders.text_space import TextSpace
from captionseg.records import SUPERVISION, UserError
from captionseg.storage.folders import read_tables
from captionseg.supervision.columns import Supervision
from captionseg.supervision.files import read
from captionseg.text.vocabulary import VocabularyParams
from tests.captionseg.supervision.rows import concepts_of

PARAMS = CurateParams(
    ["nouns", "cocu"],
    vocabulary=VocabularyParams(minimum=2),
    cocu=CoCu(neighbours=8, minimum_support=2),
)


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
            world.index,
            world.features,
            encode,
            PARAMS,
            known=pipeline.Known(),
            supervision=tmp_path,
            seed=0,
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
            world.index,
            world.features,
            encode,
            PARAMS,
            known=pipeline.Known(),
            supervision=tmp_path,
            seed=0,
        )


def test_a_variant_is_written_under_its_own_name(world, tmp_path):
    params = replace(PARAMS, rules=["flat"], variants={"flat": {"rule": "cocu", "clusters": 0}})
    encode = TextSpace.load(world.encoder).encode
    measures = pipeline.curate(
        world.index,
        world.features,
        encode,
        params,
        known=pipeline.Known(),
        supervision=tmp_path,
        seed=0,
    )
    folders = tmp_path / "flat", world.supervision / "cocu"
    flat, full = (concepts_of(read(folder)) for folder in folders)
    assert set(measures) == {"flat"}
    assert {c.rule for row in flat for c in row} == {"flat"}
    assert {c.cluster for row in flat for c in row} == {-1}
    assert [[replace(c, rule="cocu", cluster=0) for c in row] for row in flat] == [
        [replace(c, cluster=0) for c in row] for row in full
    ]


def test_a_rule_that_loses_rows_is_found_out(by_hand):
    blank = Supervision.blank(by_hand.uid)
    pipeline.check_rows("x", by_hand, blank)
    for wrong in (Supervision.blank(by_hand.uid[:-1]), Supervision.blank(by_hand.uid[::-1])):
        with pytest.raises(RuntimeError, match="rule x returned other rows"):
            pipeline.check_rows("x", by_hand, wrong)
