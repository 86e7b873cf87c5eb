"""Features of an earlier index: what is taken over, and what is made again."""

from __future__ import annotations

import functools
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from captionseg import code_digest, feature_reuse, indexing
from captionseg.feature_reuse import MADE_OF, Stored, describe, take_over
from captionseg.storage.packed import PackedArray, write_packed
from captionseg.storage.reading import read_json
from captionseg.storage.writing import write_json


def choose(table: pa.Table, *shards: str) -> pa.Table:
    return table.filter(np.isin(table["shard"], shards))


@pytest.fixture
def count(toy, monkeypatch) -> SimpleNamespace:
    """What the toy encoder is asked to embed: numbers of images, and texts."""
    kind, seen = type(toy.params().build(None)), SimpleNamespace(images=0, texts=[])
    features, text = kind.features, kind.text

    def count_images(self, images, *arguments):
        seen.images += len(images)
        return features(self, images, *arguments)

    def list_texts(self, texts):
        seen.texts += texts
        return text(self, texts)

    monkeypatch.setattr(kind, "features", count_images)
    monkeypatch.setattr(kind, "text", list_texts)
    return seen


@pytest.fixture
def build(world, toy, tmp_path):
    """name, table, params, earlier -> folder of an index."""

    def make(name, table, params=None, earlier=None, regions=None):
        out = tmp_path / name
        measures = indexing.build(
            world.pairs,
            table,
            params or toy.index_params(neighbours=4, dense_width=2),
            features=out / "features",
            index=out / "index",
            seed=0,
            regions=regions or world.regions,
            earlier=earlier and tmp_path / earlier / "features",
        )
        return out, measures

    return make


def test_a_further_shard_is_all_that_is_embedded(world, count, build):
    old = choose(world.table, "00000", "00002", "00003")
    first, measures = build("first", old)
    assert "reused_shards" not in measures
    whole, _ = build("whole", world.table)
    count.images, count.texts = 0, []
    more, measures = build("more", world.table, earlier="first")
    assert count.images == len(choose(world.table, "00001")) == 16
    assert not set(count.texts) & set(old["caption"].to_pylist())
    assert measures["reused_shards"] == 3
    for file in (f for folder in ("features", "index") for f in (whole / folder).rglob("*.*")):
        if file.parent.name != "captions":
            assert (more / file.relative_to(whole)).read_bytes() == file.read_bytes(), file
    # linked, not copied
    name = "features/dense/dense_00000.npy"
    assert (more / name).stat().st_ino == (first / name).stat().st_ino


def test_nothing_changed_is_nothing_embedded(world, count, build):
    first, _ = build("first", world.table)
    count.images, count.texts = 0, []
    again, measures = build("again", world.table, earlier="first")
    assert (count.images, count.texts, measures["reused_shards"]) == (0, [], 4)
    for file in (f for f in first.rglob("*") if f.is_file()):
        assert (again / file.relative_to(first)).read_bytes() == file.read_bytes(), file


def test_shards_are_known_by_their_pictures(world, toy, tmp_path, build):
    """Here the tune split has moved from 00002 to 00003."""
    build("first", world.table)
    column = world.table.schema.get_field_index("shard")
    renamed = world.table["shard"].to_pylist()
    swapped = [{"00002": "00003", "00003": "00002"}.get(name, name) for name in renamed]
    table = world.table.set_column(column, "shard", pa.array(swapped))
    params = toy.index_params(neighbours=4, dense_width=2)
    out, features = tmp_path / "out", tmp_path / "first" / "features"
    regions, swap = tmp_path / "regions", {"00002": "00003", "00003": "00002"}
    for file in world.regions.rglob("*_*.*"):
        name, shard = file.stem.split("_")
        moved = regions / name / f"{name}_{swap.get(shard, shard)}{file.suffix}"
        moved.parent.mkdir(parents=True, exist_ok=True)
        moved.hardlink_to(file)
    stored = Stored(regions, dense=True, cells=True)
    assert take_over(features, out, table, describe(table, params, regions), stored) == 4
    for name in ("pooled", "descriptor", "dense", "cells", "regions"):
        for old, new in (("00002", "00003"), ("00000", "00000")):
            (found,) = (out / name).glob(f"{name}_{new}.*")
            (same,) = (features / name).glob(f"{name}_{old}.*")
            assert found.read_bytes() == same.read_bytes()


def test_what_is_not_the_same_is_made_again(world, toy, tmp_path, build):
    build("first", world.table)
    features, same = tmp_path / "first" / "features", toy.index_params(dense_width=2)

    def count_taken(table, params, name):
        made_of = describe(table, params, world.regions)
        return take_over(features, tmp_path / name, table, made_of, stored)

    stored = Stored(world.regions, dense=True, cells=True)

    assert count_taken(world.table, replace(same, dense_width=3), "width") == 0
    assert count_taken(world.table, replace(same, toy=toy.params(batch=4)), "batch") == 0
    digests = world.table["sha256"].to_pylist()
    column = world.table.schema.get_field_index("sha256")
    for number, row, kept in ((0, 0, 0), (1, 20, 3), (2, 50, 3)):
        # the reduction was fitted on the first shard
        changed = [*digests[:row], "0" * 64, *digests[row + 1 :]]
        table = world.table.set_column(column, "sha256", pa.array(changed))
        assert count_taken(table, same, f"picture{number}") == kept
    unknown = [*digests[:20], None, *digests[21:]]
    table = world.table.set_column(column, "sha256", pa.array(unknown, pa.string()))
    assert count_taken(table, same, "unknown") == 3
    (features / "dense" / "dense_00001.npy").unlink()
    assert count_taken(world.table, same, "torn") == 3
    stored = Stored(world.regions, cells=True)
    assert count_taken(world.table, same, "lean") == 4
    assert not (tmp_path / "lean" / "dense").exists()


def test_other_regions_of_a_shard_are_pooled_anew(world, toy, tmp_path, count, build):
    build("first", world.table)
    regions = tmp_path / "regions"
    shutil.copytree(world.regions, regions)
    file = regions / "labels" / "labels_00001.arrow"
    write_packed(PackedArray(file)[np.arange(16)][:, ::-1], file)
    count.images = 0
    again, measures = build("again", world.table, earlier="first", regions=regions)
    assert (count.images, measures["reused_shards"]) == (16, 3)
    name = "features/regions/regions_00001.npy"
    assert (again / name).read_bytes() != (tmp_path / "first" / name).read_bytes()


def test_a_folder_without_a_note_is_left_alone(world, toy, tmp_path):
    made_of = describe(world.table, toy.index_params())
    out, stored = tmp_path / "out", Stored()
    assert take_over(tmp_path / "nowhere", out, world.table, made_of, stored) == 0
    for note in ({}, {"encoder": made_of["encoder"]}, {"shards": []}):
        write_json(note, tmp_path / MADE_OF)
        assert take_over(tmp_path, out, world.table, made_of, stored) == 0
    assert not out.exists()


def test_another_version_of_a_package_counts(world, toy, monkeypatch):
    params = toy.index_params()
    before = describe(world.table, params)["encoder"]
    assert all(feature_reuse.find_version(name) for name in ("torch", "pillow"))
    monkeypatch.setattr(feature_reuse.metadata, "version", lambda name: "0.0")
    assert describe(world.table, params)["encoder"] != before


@pytest.mark.parametrize(
    "module", ["segmenters/pooling.py", "extraction.py", "encoders/reduction.py"]
)
def test_code_that_makes_features_counts(world, toy, tmp_path, monkeypatch, module):
    package = shutil.copytree(code_digest.PACKAGE, tmp_path / "package")
    monkeypatch.setattr(
        feature_reuse, "hash_code", functools.partial(code_digest.hash_code, package=package)
    )
    params = toy.index_params()
    before = describe(world.table, params)["encoder"]
    (package / "reporting" / "tables.py").write_text("")
    assert describe(world.table, params)["encoder"] == before
    with (package / module).open("a") as file:
        file.write("# changed")
    assert describe(world.table, params)["encoder"] != before


@pytest.mark.parametrize("field", ["pretrained", "tokenizer"])
def test_weights_in_a_file_and_a_tokenizer_in_a_folder_count(world, toy, tmp_path, field):
    from captionseg.index_params import IndexParams

    weights = tmp_path / "weights.pt"
    params = IndexParams(encoder="open_clip")
    given = str(weights if field == "pretrained" else tmp_path)
    params = replace(params, open_clip=replace(params.open_clip, **{field: given}))
    notes = []
    for content in (b"1", b"2", b"1"):
        weights.write_bytes(content)
        notes.append(describe(world.table, params)["encoder"])
    assert notes[0] == notes[2] != notes[1]
    assert read_json(world.features / MADE_OF)["shards"].keys() == {
        "00000",
        "00001",
        "00002",
        "00003",
    }
