"""What a recipe reads of the supervision, in parts, against whole tables."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from captionseg.datasets.ids import read_ids, read_metadata
from captionseg.modeling.segmenter import InputSpec
from captionseg.records import UserError
from captionseg.runtime.launch import Place
from captionseg.storage import folders as storage
from captionseg.supervision.columns import Supervision
from captionseg.supervision.parquet_files import read, write
from captionseg.text.alike import find_alike
from captionseg.training import loader, preparation
from captionseg.training.stored_columns import DESCRIPTION
from captionseg.training.training_set import TrainingSet


@pytest.fixture
def mixed(world, folders, tmp_path):
    """Of cocu every fourth row was dropped; it lies in other shards than nouns."""
    supervision = tmp_path / "supervision"
    shutil.copytree(world.supervision, supervision)
    whole = read(supervision / "cocu")
    shutil.rmtree(supervision / "cocu")
    spoilt = replace(whole, kept=np.arange(len(whole)) % 4 > 0)
    for name, part in (("a", slice(0, 3)), ("b", slice(3, 4)), ("c", slice(4, None))):
        write(spoilt.take(part), supervision / "cocu" / f"{name}.parquet")
    return replace(folders, supervision=supervision)


@pytest.mark.parametrize("part", [1, 7, 1000])
def test_columns_are_those_of_whole_tables(mixed, monkeypatch, part):
    """Whatever the parts, the rows are those that a join by uid finds."""
    monkeypatch.setattr(preparation, "PART", part)
    monkeypatch.setattr(storage, "ROWS", max(1, part // 2))
    data = loader.load(mixed, curation="cocu", archive="nouns", reads=InputSpec(tokens="clip"))
    index, ids = mixed.prepared.index, read_ids(mixed.prepared.index)
    cocu, nouns = (read(mixed.supervision / rule, data.concepts) for rule in ("cocu", "nouns"))
    row_of = {uid: row for row, uid in enumerate(ids["uid"].to_pylist())}
    kept = np.flatnonzero(cocu.kept)
    assert data.rows.tolist() == [row_of[uid] for uid in cocu.uid[kept]]
    for name, column in (("texts", "concept"), ("weight", "weight"), ("cluster", "cluster")):
        np.testing.assert_array_equal(getattr(data, name)[:], getattr(cocu, column)[kept])
    np.testing.assert_array_equal(data.named[:], nouns.concept[kept])
    alike = find_alike(data.concepts, data.concept_embedding, 0.0).toarray()
    for row, archive in zip(kept, data.archive[:].tolist(), strict=True):
        held = nouns.concept[row][nouns.concept[row] >= 0]
        expected = np.flatnonzero(alike[held].any(0)).tolist()
        assert archive == expected + [-1] * (len(archive) - len(expected))
    captions = read_metadata(index, ids)["caption"].to_pylist()
    assert list(data.sentences.captions) == [captions[row] for row in data.rows]


@pytest.mark.parametrize("masking", ["all", "one", "nouns"])
def test_masked_captions_do_not_depend_on_parts(mixed, monkeypatch, masking):
    found: list[TrainingSet] = []
    for part in (5, 1000):
        monkeypatch.setattr(preparation, "PART", part)
        reads = InputSpec(tokens="bert", masking=masking)
        found.append(loader.load(mixed, curation="cocu", archive="cocu", reads=reads))
    assert list(found[0].sentences.masked) == list(found[1].sentences.masked)
    np.testing.assert_array_equal(found[0].masked_target[:], found[1].masked_target[:])
    masks = [text.count("[MASK]") for text in found[0].sentences.masked]
    assert (found[0].masked_target[:] >= 0).sum(1).tolist() == masks
    assert max(masks) == (1 if masking == "one" else 2)


def test_a_resumed_run_takes_what_is_there(mixed, tmp_path):
    place = replace(mixed, columns=tmp_path / "columns")
    stale = tmp_path / ".columns.1.part"
    stale.mkdir()
    first = loader.load(place, curation="cocu", archive="cocu")
    assert not stale.exists()
    shutil.rmtree(mixed.supervision / "cocu")
    again = loader.load(place, curation="cocu", archive="cocu")
    np.testing.assert_array_equal(first.weight[:], again.weight[:])
    other = loader.load(place, curation="nouns", archive="nouns")
    assert len(other) > len(first)


def test_columns_without_a_description_are_written_anew(mixed, tmp_path):
    place = replace(mixed, columns=tmp_path / "columns")
    first = np.array(loader.load(place, curation="cocu", archive="cocu").rows)
    (tmp_path / "columns" / DESCRIPTION).unlink()
    (tmp_path / "columns" / "row.npy").write_bytes(b"torn")
    again = loader.load(place, curation="cocu", archive="cocu")
    np.testing.assert_array_equal(first, again.rows)


def test_rows_beyond_the_training_pairs_are_refused_and_nothing_is_left(mixed, tmp_path):
    path = mixed.supervision / "cocu" / "c.parquet"
    whole = read(path)
    further = {name: getattr(whole, name) for name in ("concept", "kept", "weight")}
    more = replace(
        whole.take(np.r_[0 : len(whole), 0]), uid=np.array([*whole.uid, "another"], object)
    )
    assert len(more.concept) == len(further["concept"]) + 1
    write(more, path)
    place = replace(mixed, columns=tmp_path / "columns")
    with pytest.raises(
        UserError, match=r"cocu: does not match the 35 training .*.36 rows, 0 pairs"
    ):
        loader.load(place, curation="cocu", archive="cocu")
    assert not list(tmp_path.glob("*columns*"))


def test_rows_in_another_order_are_refused(mixed):
    path = mixed.supervision / "cocu" / "a.parquet"
    write(read(path).take(np.array([1, 0, 2])), path)
    with pytest.raises(UserError, match=r"35 training pairs of the index .35 rows, 0 pairs miss"):
        loader.load(mixed, curation="cocu", archive="cocu")


def test_captions_of_other_pairs_are_refused(mixed, tmp_path):
    index = tmp_path / "index"
    shutil.copytree(mixed.prepared.index, index)
    path = index / "metadata" / "metadata_00001.parquet"
    table, last = pq.read_table(path), index / "metadata" / "metadata_00003.parquet"
    spoilt = replace(mixed, prepared=replace(mixed.prepared, index=index))
    for file, changed in (
        (path, table.take([1, 0, *range(2, len(table))])),
        (last, pa.concat_tables([pq.read_table(last), table.slice(0, 1)])),
    ):
        whole = file.read_bytes()
        pq.write_table(changed, file)
        with pytest.raises(UserError, match=r"metadata: of other pairs than .*ids.parquet"):
            loader.load(spoilt, curation="cocu", archive="cocu", reads=InputSpec(tokens="clip"))
        file.write_bytes(whole)


def test_a_rule_without_any_concept(mixed):
    """As `captions` is: pairs are kept that have nothing to draw."""
    path = mixed.supervision / "nouns"
    whole: Supervision = read(path)
    shutil.rmtree(path)
    blank = replace(Supervision.blank(whole.uid), rule="captions", vocabulary=whole.vocabulary)
    write(blank, mixed.supervision / "captions" / "0.parquet")
    write(blank, path / "0.parquet")
    data = loader.load(mixed, curation="captions", archive="captions")
    assert (len(data), data.texts.shape, data.archive.shape[1]) == (35, (35, 1), 0)
    assert (data.texts[:] == -1).all()
    assert data.archive[np.array([3, 4])].shape == (2, 0)


def test_a_file_of_parquet_is_read_in_parts(world):
    """Parts end where they are asked to, not where files or batches end."""
    index = world.index
    paths = sorted((index / "metadata").glob("*.parquet"))
    schema = pa.schema([("uid", pa.string()), ("caption", pa.string())])
    stream = storage.RowStream(paths, schema.names, schema=schema)
    sizes, parts = (0, 1, 18, 5, 20, 100, 1), []
    for size in sizes:
        if (part := stream.take(size)) is not None:
            parts.append(part)
    assert [len(part) for part in parts] == [1, 18, 5, 20, 7]
    whole = pa.concat_tables(parts)
    assert pc.all(pc.equal(whole["uid"], read_ids(index)["uid"])).as_py()


def test_only_the_first_process_of_a_machine_writes(mixed, tmp_path):
    """The second machine sees no files of the first, or does."""
    place = replace(mixed, columns=tmp_path / "columns")
    rules = {"curation": "cocu", "archive": "cocu"}
    with pytest.raises(UserError, match=r"width.json: no such file"):
        loader.load(place, **rules, place=Place(rank=1, local=1, world=2))
    first = loader.load(place, **rules, place=Place(rank=2, local=0, world=4))
    shutil.rmtree(mixed.supervision / "cocu")
    for rank, local in ((0, 0), (1, 1), (2, 0)):
        again = loader.load(place, **rules, place=Place(rank, local, world=4))
        np.testing.assert_array_equal(first.weight[:], again.weight[:])
