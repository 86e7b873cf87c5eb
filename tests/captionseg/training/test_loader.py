"""Supervision and features -> what is trained on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from captionseg.datasets.ids import read_ids, read_metadata
from captionseg.encoders.text_space import TextSpace
from captionseg.modeling.segmenter import InputSpec
from captionseg.records import UserError
from captionseg.storage.folders import read_arrays, read_tables
from captionseg.storage.writing import write_table
from captionseg.supervision.parquet_files import read, write
from captionseg.training import loader
from captionseg.training.training_set import TrainingSet
from tests.captionseg.supervision.rows import concepts_of


def test_what_is_trained_on(world, data):
    uid = np.array(pq.read_table(world.index / "ids.parquet")["uid"].to_pylist())[data.rows]
    cocu, nouns = (read(world.supervision / rule) for rule in ("cocu", "nouns"))
    of_cocu, of_nouns = concepts_of(cocu), concepts_of(nouns)
    concepts = pq.read_table(world.supervision / "vocabulary" / "concepts.parquet")[
        "text"
    ].to_pylist()
    assert list(uid) == list(cocu.uid)  # all were kept
    for row in range(len(data)):
        assert [concepts[c] for c in data.texts[row] if c >= 0] == [c.text for c in of_cocu[row]]
        assert [concepts[c] for c in data.named[row] if c >= 0] == [c.text for c in of_nouns[row]]
        assert {concepts[c] for c in data.archive[row] if c >= 0} == {
            c.text for c in (*of_cocu[row], *of_nouns[row])
        }
        np.testing.assert_allclose(
            data.weight[row][: len(of_cocu[row])], [c.weight for c in of_cocu[row]]
        )


def test_a_rule_that_was_not_run_is_one_line(folders):
    with pytest.raises(UserError, match=r"rule 'entities' was not run; add it to curate.rules"):
        loader.load(folders, curation="entities", archive="nouns")


def dropped(world, folder, keep: int) -> None:
    (folder / "vocabulary").symlink_to(world.supervision / "vocabulary")
    (folder / "nouns").symlink_to(world.supervision / "nouns")
    written = read(world.supervision / "cocu")
    write(replace(written, kept=np.arange(len(written)) < keep), folder / "cocu" / "0.parquet")


def test_only_kept_rows_are_trained_on(world, folders, tmp_path, data):
    dropped(world, tmp_path, keep=3)
    few = loader.load(replace(folders, supervision=tmp_path), curation="cocu", archive="nouns")
    assert len(few) == len(few.texts) == len(few.weight) == len(few.archive) == len(few.named) == 3
    np.testing.assert_array_equal(few.rows, data.rows[:3])


@pytest.mark.parametrize("rule", ["cocu", "nouns"])
def test_a_rule_that_lost_a_shard_is_not_read_beside_others(world, folders, tmp_path, rule):
    shutil.copytree(world.supervision, tmp_path / "supervision")
    few = replace(folders, supervision=tmp_path / "supervision")
    (tmp_path / "supervision" / rule / "00000.parquet").unlink()
    with pytest.raises(
        UserError,
        match=rf"{rule}: does not match the 35 training pairs .*.16 rows, 19 pairs missing.; run",
    ):
        loader.load(few, curation="cocu", archive="nouns")


def test_a_concept_of_another_vocabulary_is_one_line(world, folders, tmp_path):
    shutil.copytree(world.supervision, tmp_path / "supervision")
    path = tmp_path / "supervision" / "vocabulary" / "concepts.parquet"
    table = pq.read_table(path)
    write_table(
        table.set_column(0, "text", pa.array(["zebra", *table["text"].to_pylist()[1:]])), path
    )
    with pytest.raises(
        UserError, match=r"is not in the vocabulary of curate; run `dvc repro curate`"
    ):
        loader.load(
            replace(folders, supervision=tmp_path / "supervision"), curation="cocu", archive="nouns"
        )


def test_nothing_kept_is_one_line(world, folders, tmp_path):
    dropped(world, tmp_path, keep=0)
    with pytest.raises(UserError, match=r"every row was dropped; loosen curate.cocu"):
        loader.load(replace(folders, supervision=tmp_path), curation="cocu", archive="nouns")


def test_rows_are_those_of_the_index(world, data: TrainingSet):
    split = pq.read_table(world.index / "ids.parquet")["split"].to_pylist()
    assert {split[row] for row in data.rows} == {"train"}
    assert json.loads((world.supervision / "vocabulary" / "lemma.json").read_text())


@pytest.fixture
def captions(world) -> dict[str, str]:
    """uid -> caption."""
    return dict(zip(*read_metadata(world.index, read_ids(world.index)).to_pydict().values()))


def test_an_empty_caption_is_one_line_for_models_that_read_words(world, folders, tmp_path):
    shutil.copytree(world.index, tmp_path / "index")
    uid = read_tables(folders.supervision / "cocu")["uid"].to_pylist()[4]
    path = tmp_path / "index" / "metadata" / "metadata_00000.parquet"
    table = pq.read_table(path)
    blank = pc.if_else(pc.equal(table["uid"], uid), "  ", table["caption"])
    pq.write_table(
        table.set_column(table.schema.get_field_index("caption"), "caption", blank), path
    )
    spoilt = replace(folders, prepared=replace(folders.prepared, index=tmp_path / "index"))
    with pytest.raises(UserError, match=f"the caption of {uid} is empty"):
        loader.load(
            spoilt, curation="cocu", archive="cocu", reads=InputSpec(picture=16, tokens="clip")
        )


def test_masked_captions_are_embedded_or_kept_as_words(folders):
    seen = []
    encode = lambda texts: seen.extend(texts) or np.ones((len(texts), 16), np.float32)  # noqa: E731
    data = loader.load(
        folders, curation="cocu", archive="cocu", reads=InputSpec(masking="all"), encode=encode
    )
    assert data.masked.shape == (len(data), 16)
    assert all("[MASK]" in text for text in seen)
    assert data.sentences is None
    words = loader.load(
        folders, curation="cocu", archive="cocu", reads=InputSpec(tokens="bert", masking="all")
    )
    assert list(words.sentences.masked) == seen
    np.testing.assert_array_equal(words.masked_target, data.masked_target)


def test_what_a_model_does_not_read_is_not_loaded(data):
    assert data.reads == InputSpec()
    assert data.dense is data.pictures is data.space is data.sentences is data.masked is None


def test_dense_features_come_with_the_encoder_that_made_them(world, folders, data):
    found = loader.load(folders, curation="cocu", archive="cocu", reads=InputSpec(dense=True))
    np.testing.assert_array_equal(
        found.dense[found.rows], read_arrays(world.features / "dense")[data.rows]
    )
    expected = TextSpace.load(world.encoder)
    np.testing.assert_array_equal(found.space.dense.weight, expected.dense.weight)
    assert (found.reads.dense, found.sentences, found.pictures) == (True, None, None)


def test_words_of_the_frozen_encoder_come_with_it(world, folders, data, captions):
    reads = InputSpec(picture=16, tokens="frozen")
    found = loader.load(folders, curation="cocu", archive="cocu", reads=reads)
    uid = np.array(pq.read_table(world.index / "ids.parquet")["uid"].to_pylist())[data.rows]
    assert list(found.sentences.captions) == [captions[u] for u in uid]
    assert found.sentences.vocabulary is found.sentences.masked is found.dense is None
    assert found.space.encode(["dog"]).shape == (1, 16)
    assert found.reads is reads


def test_the_vocabulary_comes_along_where_words_of_concepts_are_asked_for(world, folders, data):
    found = loader.load(
        folders, curation="cocu", archive="cocu", reads=InputSpec(tokens="frozen", words=True)
    )
    vocabulary = found.sentences.vocabulary
    assert list(vocabulary.concepts) == data.concepts
    assert vocabulary.lemma == json.loads(
        (world.supervision / "vocabulary" / "lemma.json").read_text()
    )
    for row, caption in enumerate(found.sentences.captions):
        assert {c for _, c in vocabulary.words(caption)} | {-1} == set(data.named[row].tolist()) | {
            -1
        }


@pytest.mark.parametrize(
    ("reads", "needed"),
    [(InputSpec(picture=16, live=True), True), (InputSpec(picture=16, tokens="clip"), False)],
)
def test_the_encoder_is_loaded_for_models_that_run_it(folders, reads, needed):
    found = loader.load(folders, curation="cocu", archive="cocu", reads=reads)
    assert (found.space is not None) == needed
    assert found.pictures is not None
