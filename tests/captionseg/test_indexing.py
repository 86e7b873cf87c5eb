"""pairs -> features, embeddings and neighbours: layout, resumption, and who never sees what."""

from __future__ import annotations

import functools
import json
import shutil
from dataclasses import replace

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from threadpoolctl import threadpool_limits

from captionseg import embedding, indexing
from captionseg import neighbours as neighbour_files
from captionseg.arrays import Rows
from captionseg.datasets.pair_tables import read_pairs
from captionseg.datasets.shard_images import read_images
from captionseg.encoders.alignment import assign_folds
from captionseg.encoders.reduction import Reduction, fit_reduction
from captionseg.encoders.text_space import TextSpace
from captionseg.records import IDS, NEIGHBOURS, UserError
from captionseg.retrieval.faiss import FaissIndex
from captionseg.retrieval.index import find_neighbours
from captionseg.runtime.fan_out import PerProcess
from captionseg.storage.folders import read_arrays, read_tables
from captionseg.storage.writing import write_array, write_table

TRAIN = 35  # 36 rows of which one failed


def test_clip_retrieval_layout(world):
    assert sorted(p.name for p in world.index.iterdir()) == [
        "caption_neighbours.npy",
        "ids.parquet",
        "image.index",
        "img_emb",
        "metadata",
        "neighbours.npy",
        "similarities.npy",
        "text.index",
        "text_emb",
    ]
    count = len(world.table)
    for name in ("img_emb", "text_emb"):
        assert sorted(p.name for p in (world.index / name).iterdir()) == [
            f"{name}_{i:05d}.npy" for i in range(4)
        ]
        rows = read_arrays(world.index / name)
        assert (rows.shape, rows.dtype) == ((count, 16), np.float16)
        np.testing.assert_allclose(np.linalg.norm(rows.astype(np.float32), axis=1), 1.0, atol=2e-3)
    assert faiss.read_index(str(world.index / "image.index")).ntotal == count
    metadata = read_tables(world.index / "metadata")
    for ours, theirs in (("key", "image_path"), ("caption", "caption"), ("url", "url")):
        assert metadata[theirs].to_pylist() == world.table[ours].to_pylist()
    ids = pq.read_table(world.index / "ids.parquet")
    assert ids.schema == IDS
    assert ids["uid"].to_pylist() == world.table["uid"].to_pylist()
    assert ids["row"].to_pylist() == list(range(count))


def test_regions_of_other_pictures_are_refused(world, toy, tmp_path):
    regions = tmp_path / "regions"
    shutil.copytree(world.regions, regions)
    np.save(regions / "count" / "count_00001.npy", np.full(3, 4, np.uint8))
    with pytest.raises(UserError, match=r"count_00001.npy: cannot be read \(expected 16 rows"):
        indexing.build(
            world.pairs,
            world.table,
            toy.index_params(neighbours=8),
            features=tmp_path / "f",
            index=tmp_path / "i",
            seed=0,
            regions=regions,
        )


def test_dense_features_are_reduced_by_what_was_learnt_from_the_first_shard(world, toy, tmp_path):
    params = toy.index_params(neighbours=4)
    for width in (0, 2):
        out = tmp_path / str(width)
        indexing.build(
            world.pairs,
            world.table,
            replace(params, dense_width=width),
            features=out,
            index=out,
            seed=0,
        )
    raw, two = (np.load(tmp_path / width / "dense" / "dense_00003.npy") for width in ("0", "2"))
    assert (raw.shape[-1], two.shape[-1]) == (3, 2)
    assert Reduction.load(tmp_path / "0" / "encoder") is None
    images = [image for _, image in read_images(world.pairs, "00000")]
    reduction = fit_reduction(toy.params().build(None), images, 2)
    np.testing.assert_allclose(two, reduction(raw.astype(np.float32)), atol=2e-3)
    assert (
        TextSpace.load(tmp_path / "2" / "encoder").encoder.features(images[:1]).dense.shape[-1] == 2
    )


def test_folds_are_of_the_training_split_alone(world):
    ids = pq.read_table(world.index / "ids.parquet")
    fold, split = np.array(ids["fold"].to_pylist()), np.array(ids["split"].to_pylist())
    assert set(fold[split != "train"]) == {-1}
    assert np.bincount(fold[split == "train"]).tolist() == [7] * 5


def in_threes(table: pa.Table) -> tuple[pa.Table, np.ndarray]:
    """The same pairs as if three in a row had one picture, and which that is."""
    picture = np.arange(len(table)) // 3
    digests = pa.array([f"{number:064x}" for number in picture])
    return table.set_column(table.schema.get_field_index("sha256"), "sha256", digests), picture


def test_a_picture_that_is_trained_on_and_tested_with_is_said(world, caplog):
    """TwoColours draws train, tune and test from the same numbers; number 5 of train failed."""
    indexing.warn_of_shared_pictures(world.pairs, world.table)
    (line,) = caplog.messages
    first = world.table["uid"][TRAIN].as_py()
    assert (
        "14 of 16 pairs of other splits show a picture that is also in the training split, such as "
        f"{first}" in line
    )
    caplog.clear()
    digests = pa.array([f"{row:064x}" for row in range(len(world.table))])
    column = world.table.schema.get_field_index("sha256")
    indexing.warn_of_shared_pictures(world.pairs, world.table.set_column(column, "sha256", digests))
    assert not caplog.records


def align(table, world, toy, folder, params=None):
    """Embeddings of a table of the world's pairs."""
    features = folder / "features"
    if not features.exists():
        features.mkdir()
        for name in ("pooled", "cells"):
            (features / name).symlink_to(world.features / name)
    return embedding.align(
        table,
        features,
        toy.params().build(None),
        params or toy.index_params(),
        file=folder / "image.npy",
        seed=0,
    )


def test_pairs_of_a_picture_are_in_one_fold(world, toy, tmp_path):
    """Else an alignment has seen the picture whose embedding it makes."""
    table, picture = in_threes(world.table)
    fold = align(table, world, toy, tmp_path).fold
    train = np.array(table["split"].to_pylist()) == "train"
    assert all(len(set(fold[train & (picture == number)])) == 1 for number in picture[train])
    assert sorted(np.bincount(fold[train][::3])) == [2, 2, 2, 3, 3]  # of twelve pictures
    alone = align(world.table, world, toy, tmp_path).fold
    np.testing.assert_array_equal(alone[train], assign_folds(TRAIN, 5, seed=0))


@pytest.mark.parametrize("name", ["neighbours", "caption_neighbours"])
def test_neighbours_are_of_other_pictures(world, toy, tmp_path, name, caplog):
    table, picture = in_threes(world.table)
    vectors = Rows(read_arrays(world.index / "text_emb"))
    params = toy.index_params(neighbours=4)
    write = functools.partial(
        neighbour_files.write_neighbours,
        name,
        table,
        queries=PerProcess(lambda: vectors),
        vectors=vectors,
        params=params,
    )
    write(k=32, index=tmp_path)
    near = np.load(tmp_path / f"{name}.npy")
    assert near.shape == (len(table), 32)
    assert (near >= 0).all()
    assert not (picture[near] == picture[:, None]).any()
    assert not caplog.records
    write(k=33, index=tmp_path / "more")
    assert f"index.{name}: 33 is more than the 32 training pairs of other pictures" in caplog.text


@pytest.mark.parametrize("name", ["neighbours", "caption_neighbours"])
def test_neighbours_are_training_images_and_never_the_image_itself(world, name):
    near = np.load(world.index / f"{name}.npy")
    assert near.dtype == np.int32
    split = np.array(world.table["split"].to_pylist())
    assert (split[near] == "train").all()
    assert not (near == np.arange(len(near))[:, None]).any()


def test_neighbours_show_the_same_things(world):
    near = np.load(world.index / NEIGHBOURS)[:, 0]
    first = [url.split("/")[1] for url in world.table["url"].to_pylist()]
    kind = np.array([(int(n) % 3, int(n) // 3 % 3) for n in first])
    assert (kind == kind[near]).all()


def test_the_saved_space_embeds_as_the_index_does(world):
    space = TextSpace.load(world.encoder)
    text = space.encode(world.table["caption"].to_pylist())
    np.testing.assert_allclose(text, read_arrays(world.index / "text_emb"), atol=2e-3)
    # held-out rows are embedded by the whole alignment
    pooled = read_arrays(world.features / "pooled")[TRAIN:]
    np.testing.assert_allclose(
        space.project_pooled(pooled), read_arrays(world.index / "img_emb")[TRAIN:], atol=2e-3
    )


def test_training_images_are_embedded_by_alignments_that_never_saw_their_caption(
    world, toy, tmp_path
):
    first = align(world.table, world, toy, tmp_path)
    before, fold = read_all(first.image), first.fold
    captions = world.table["caption"].to_pylist()
    changed = [c if f != 2 else "water water water" for c, f in zip(captions, fold, strict=True)]
    column = world.table.schema.get_field_index("caption")
    table = world.table.set_column(column, "caption", pa.array(changed))
    second = align(table, world, toy, tmp_path)
    after = read_all(second.image)
    np.testing.assert_array_equal(fold, second.fold)
    inside = fold == 2
    np.testing.assert_array_equal(before[inside], after[inside])
    assert not np.isclose(before[~inside], after[~inside]).all(1).any()


def read_all(rows):
    return np.concatenate(list(rows.blocks()))


def test_one_fold_scores_training_images_by_what_saw_them(world, toy, tmp_path):
    params = toy.index_params()
    params = replace(params, alignment=replace(params.alignment, folds=1))
    found = align(world.table, world, toy, tmp_path, params)
    np.testing.assert_allclose(  # products of fewer rows round differently on some processors
        read_all(found.image),
        found.space.project_pooled(read_arrays(world.features / "pooled")),
        atol=1e-6,
    )


def test_an_encoder_with_a_joint_space_needs_no_alignment(world, toy, tmp_path):
    params = toy.index_params(toy=toy.params(aligned=True), neighbours=4)
    result = indexing.build(
        world.pairs, world.table, params, features=tmp_path / "f", index=tmp_path / "i", seed=0
    )
    assert result == {"pairs": float(len(world.table)), "embedding_dimensions": 16.0}
    space = TextSpace.load(tmp_path / "f" / "encoder")
    assert (space.image, space.dense) == (None, None)
    assert set(pq.read_table(tmp_path / "i" / "ids.parquet")["fold"].to_pylist()) == {-1}


@pytest.mark.parametrize(
    "file",
    [
        "features/pooled/pooled_00001.npy",
        "index/text_emb/text_emb_00003.npy",
        "index/metadata/metadata_00002.parquet",
        "index/ids.parquet",
    ],
)
def test_what_is_lost_on_the_way_stops_the_stage(world, toy, tmp_path, monkeypatch, file):
    real = indexing.write_searches

    def write(*arguments, **options):
        found = real(*arguments, **options)
        (tmp_path / file).unlink()
        monkeypatch.setattr(indexing, "write_searches", real)
        return found

    monkeypatch.setattr(indexing, "write_searches", write)
    with pytest.raises(
        UserError, match=rf"index: .*{file}: missing, or torn; no output was written"
    ):
        indexing.build(
            world.pairs,
            world.table,
            toy.index_params(neighbours=4),
            features=tmp_path / "features",
            index=tmp_path / "index",
            seed=0,
        )


def test_bytes_do_not_depend_on_the_number_of_threads():
    """Of sizes at which those of plain products do."""
    rng, found = np.random.default_rng(0), {}
    cells, vectors = (
        rng.normal(size=size).astype(np.float32) for size in ((3000, 112), (2000, 320))
    )
    for threads in (1, 2):
        with threadpool_limits(threads):
            reduction = Reduction.fit(cells, 64)
            near = find_neighbours(FaissIndex(vectors), np.arange(len(vectors)), vectors, 32)
            parts = [part for pair in near for part in pair]
        found[threads] = [a.tobytes() for a in (reduction.mean, reduction.basis, *parts)]
    assert found[1] == found[2]


def test_everything_is_the_same_the_second_time(world, toy, tmp_path):
    indexing.build(
        world.pairs,
        read_pairs(world.pairs, indexing.COLUMNS),
        toy.index_params(neighbours=8),
        features=tmp_path / "features",
        index=tmp_path / "index",
        seed=0,
        regions=world.regions,
    )
    for folder in ("features", "index"):
        first = getattr(world, folder)
        files = [p.relative_to(first) for p in sorted(first.rglob("*")) if p.is_file()]
        assert files
        for file in files:
            assert (first / file).read_bytes() == (tmp_path / folder / file).read_bytes(), file


def test_pairs_without_a_training_split_are_one_line(world, toy, tmp_path):
    table = world.table.filter(pa.array([s != "train" for s in world.table["split"].to_pylist()]))
    with pytest.raises(UserError, match="no pairs in the training split"):
        indexing.build(
            world.pairs,
            table,
            toy.index_params(),
            features=tmp_path / "f",
            index=tmp_path / "i",
            seed=0,
        )


def test_an_index_that_is_not_exact_says_what_it_found_or_fails(world, toy, tmp_path, caplog):
    params = toy.index_params(neighbours=99)
    where = {"features": tmp_path / "f", "index": tmp_path / "i", "seed": 0}
    graph = replace(params, faiss_key="HNSW32", backend="faiss")
    found = indexing.build(world.pairs, world.table, graph, **where)
    told = json.loads((tmp_path / "i" / "recall.json").read_text())
    assert set(told) == {
        f"{name}_recall" for name in ("image", "text", "neighbours", "caption_neighbours")
    }
    assert all(0.95 <= value <= 1 for value in told.values())
    assert told.items() <= found.items()
    assert (
        "index.neighbours: 99 is more than the 34 training pairs of other pictures" in caplog.text
    )
    few = replace(params, faiss_key="IVF8,Flat", nprobe=1)
    with pytest.raises(
        UserError,
        match=r"image: the index finds 0\.\d+ of the 51 .* raise index.ef_search .*nprobe",
    ):
        indexing.build(world.pairs, world.table, few, **where)
    indexing.build(world.pairs, world.table, replace(few, minimum_recall=0.0), **where)


def test_embeddings_of_clip_retrieval_are_taken(world, toy, tmp_path):
    """By URL, into the rows of their pictures; an index with them is that of the encoder here."""
    params = replace(toy.index_params(neighbours=4), toy=toy.params(aligned=True))
    build = functools.partial(indexing.build, world.pairs, world.table, seed=0)
    build(params, features=tmp_path / "features", index=tmp_path / "index")
    given = tmp_path / "given"
    own = read_arrays(tmp_path / "index" / "img_emb")
    turned = own[::-1][:-3] * np.float16(2)
    write_array(turned, given / "img_emb" / "img_emb_0.npy")
    urls = world.table["url"].to_pylist()[::-1][:-3]
    write_table(pa.table({"url": urls}), given / "metadata" / "metadata_0.parquet")
    measures = build(
        replace(params, embeddings=str(given)), features=tmp_path / "f", index=tmp_path / "i"
    )
    assert measures["reused_embeddings"] == len(own) - 3
    np.testing.assert_allclose(read_arrays(tmp_path / "i" / "img_emb"), own, atol=1e-3)
    with pytest.raises(UserError, match=r"set index\.encoder to open_clip"):
        build(
            toy.index_params(neighbours=4, embeddings=str(given)),
            features=tmp_path / "g",
            index=tmp_path / "j",
        )
    assert not (tmp_path / "g").exists()  # refused before anything is embedded
