"""Segments on disk -> fields of a batch: masks on the grid, texts drawn."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import DataLoader

from captionseg.datasets.pair_tables import read_truth
from captionseg.encoders.text_space import TextSpace
from captionseg.grids import Window, shares
from captionseg.modeling.segmenter import InputSpec
from captionseg.records import SEGMENTS, UserError
from captionseg.segment_text.rle import encode
from captionseg.storage.writing import write_table
from captionseg.text.prompts import SEGMENT
from captionseg.training import loader
from captionseg.training.batches import Batches
from captionseg.training.segment_files import MaskForm, RowFinder, map_segments, write_segments
from captionseg.training.segment_set import EncodedMasks, SegmentSet
from captionseg.training.training_set import TrainingSet

READS = InputSpec(dense=True, segments=3, kinds=("phrase", "expression", "concept"))


@pytest.fixture
def data(named) -> TrainingSet:
    return loader.load(named, curation="cocu", archive="cocu", reads=READS)


@pytest.fixture
def true(world) -> dict[int, tuple[str, str]]:
    """Row of the index -> what is on the left and on the right."""
    uids = pq.read_table(world.index / "ids.parquet")["uid"].to_pylist()
    table = read_truth(world.truth).select(["uid", "concepts"]).to_pylist()
    return {uids.index(row["uid"]): tuple(row["concepts"]) for row in table if row["uid"] in uids}


def test_a_batch_has_the_segments_of_its_pictures(world, data, true):
    rows = np.array([4, len(data) - 1, 9])  # the last of the training pictures has none
    batches = Batches(data, batch=3, texts=3, seed=0)
    batch = batches.make(rows, batches.draw(rows, np.random.default_rng(0)))
    half = torch.tensor([1.0, 1.0, 0.0, 0.0]).expand(4, 4)
    expected = torch.stack(
        [torch.stack([half, 1 - half]), torch.zeros(2, 4, 4), torch.stack([half, 1 - half])]
    )
    assert torch.equal(batch.segments.masks, expected)
    assert (batch.segments.number < 0).tolist() == [[False] * 2, [True] * 2, [False] * 2]
    assert (batch.segments.known[1] == -1).all()
    space = TextSpace.load(world.encoder)
    for i in (0, 2):
        left, right = true[int(data.rows[rows[i]])]
        assert (batch.segments.known[i] >= 0).sum(1).tolist() == [2, 1]
        for s, name in enumerate(({left, f"a {left}"}, {right})):
            prompts = space.encode([t.format(n) for n in name for t in SEGMENT])
            assert np.abs(prompts - batch.segments.embedding[i, s].numpy()).max(1).min() < 1e-3
            assert batch.segments.number[i, s] in batch.segments.known[i, s]
    assert batch.dense is not None
    assert batch.regions.shape == (3, 0, 0)


def test_equal_texts_are_one_text_in_one_prompt(data, true):
    found = data.segments
    assert len(found.embedding) == 9  # three objects with and without an article, three grounds
    assert found.embedding.shape[1:] == (4, 16)
    batch = next(iter(Batches(data, batch=30, texts=3, seed=0)))
    number, said = batch.segments.number.flatten(), batch.segments.embedding.flatten(0, 1)
    assert number.unique().tolist() == [-1, *range(9)] or number.unique().tolist() == list(range(9))
    for text in range(9):
        assert len(said[number == text].unique(dim=0)) == 1


def test_texts_are_drawn_from_seed_epoch_and_row_alone(data):
    segments, rows = data.segments, data.rows[:20]

    def draw(rows, **place):
        return segments.of_rows(rows, **{"seed": 0, "epoch": 0, "most": 3, **place})

    first = draw(rows).number
    assert torch.equal(draw(rows).number, first)
    assert torch.equal(draw(rows[::-1]).number, first.flip(0))
    for other in (draw(rows, epoch=1), draw(rows, seed=1)):
        assert 0.2 < (other.number[:, 0] != first[:, 0]).float().mean() < 0.8
        assert torch.equal(other.number[:, 1], first[:, 1])  # there is but one text
    prompts = torch.stack([draw(rows, epoch=e).embedding[0, 1] for e in range(12)])
    assert len(prompts.unique(dim=0)) == 4


def test_workers_and_ranks_change_nothing(data):
    whole = Batches(data, batch=8, texts=3, seed=0)
    found = list(
        DataLoader(Batches(data, batch=8, texts=3, seed=0), batch_size=None, num_workers=2)
    )
    for one, two in zip(whole, found, strict=True):
        for name in ("masks", "embedding", "number", "known"):
            assert torch.equal(getattr(one.segments, name), getattr(two.segments, name))
    parts = [
        next(iter(Batches(data, batch=8, texts=3, seed=0, rank=rank, world=2))) for rank in (0, 1)
    ]
    for name in ("masks", "embedding", "number", "known"):
        found = torch.cat([getattr(part.segments, name) for part in parts])
        assert torch.equal(found, getattr(next(iter(whole)).segments, name))


def read(folder, rows: dict[str, int], size: int, *, grid, coded=False, **options) -> SegmentSet:
    """Write segments of pairs with these rows beside the shards, and map them."""
    place, form = folder / f"columns{len(list(folder.iterdir()))}", MaskForm(grid, coded)
    place.mkdir()
    find_rows = lambda uids: np.array([rows.get(uid, -1) for uid in uids])  # noqa: E731
    write_segments(folder, place, find_rows, size, form=form, **options)
    return map_segments(place, form)


def toy_set(counts: list[int]) -> SegmentSet:
    """So many segments for each row, each with a text of its own; the mask of segment i is i
    everywhere.
    """
    n = sum(counts)
    number, start = np.arange(n), np.cumsum([0, *counts])
    masks = number[:, None, None] * np.ones((1, 2, 2), np.float16)
    return SegmentSet(start, number, masks, number[:, None], np.zeros((n, 1, 3), np.float16))


def test_a_row_with_too_many_shows_others_each_epoch():
    segments, seen = toy_set([10, 1]), set()
    for epoch in range(10):
        found = segments.of_rows([0, 1], seed=0, epoch=epoch, most=4)
        mine = found.number[0].tolist()
        assert len(set(mine)) == 4
        assert found.masks[0, :, 0, 0].tolist() == mine
        assert found.number[1].tolist() == [10, -1, -1, -1]
        seen |= set(mine)
    assert seen == set(range(10))


def test_ranks_agree_about_the_shape_of_a_batch():
    toy = toy_set([2, 7, 0])
    for among, widths in ((None, [2, 4, 1]), ([0, 1, 2], [4, 4, 4]), ([0, 2], [2, 2, 2])):
        rows = [row for row in range(3) if among is None or row in among]
        found = [toy.of_rows([row], seed=0, epoch=0, most=4, among=among) for row in rows]
        assert [segments.masks.shape[1] for segments in found] == widths[: len(rows)]


def test_pictures_of_several_sizes_and_rows_in_any_order(tmp_path):
    rng, masks, rows = np.random.default_rng(0), {}, {"b": 5, "a": 2}
    table = []
    for uid, (height, width), count in (("a", (20, 30), 40), ("x", (9, 9), 2), ("b", (7, 11), 3)):
        masks[uid] = rng.random((count, height, width)) < 0.5
        rles, _, _ = encode(masks[uid])
        texts = [{"text": uid, "kind": "phrase"}]
        table += [
            {"uid": uid, "height": height, "width": width, "rle": rle, "texts": texts}
            for rle in rles
        ]
    write_table(pa.Table.from_pylist(table, schema=SEGMENTS), tmp_path / "0.parquet")
    found = read(tmp_path, rows, 7, grid=(3, 4), encode=ones, kinds=["phrase"], templates=["{}"])
    assert found.start.tolist() == [0, 0, 0, 40, 40, 40, 43, 43]
    assert isinstance(found.masks, np.memmap)
    for uid, row in rows.items():
        mine = found.order[found.start[row] : found.start[row + 1]]
        np.testing.assert_allclose(found.masks[mine], shares(masks[uid], (3, 4)), atol=1e-3)


def test_kinds_choose_texts_and_segments(tmp_path):
    (rle,), _, _ = encode(np.ones((1, 2, 2), bool))
    texts = [
        [("A dog.", "phrase"), ("a dog on grass", "expression"), ("dog", "concept")],
        [("grass", "concept")],
    ]
    table = [
        {
            "uid": "a",
            "height": 2,
            "width": 2,
            "rle": rle,
            "texts": [{"text": t, "kind": k} for t, k in some],
        }
        for some in texts
    ]
    write_table(pa.Table.from_pylist(table, schema=SEGMENTS), tmp_path / "0.parquet")
    take = functools.partial(
        read, tmp_path, {"a": 0}, 1, grid=(1, 1), encode=ones, templates=["{}"]
    )
    every = take(kinds=["phrase", "expression", "concept"])
    assert (list(every.phrases), every.texts[:].tolist()) == (
        ["a dog", "a dog on grass", "dog", "grass"],
        [[0, 1, 2], [3, -1, -1]],
    )
    captions = take(kinds=["phrase", "expression"])
    assert (list(captions.phrases), captions.texts[:].tolist()) == (
        ["a dog", "a dog on grass"],
        [[0, 1]],
    )
    with pytest.raises(UserError, match="the kinds of texts that the model learns from"):
        take(kinds=["sound"])


def ones(texts) -> np.ndarray:
    return np.ones((len(texts), 2), np.float32)


def test_nothing_to_learn_from_is_one_line(named, tmp_path):
    load = lambda folders: loader.load(folders, curation="cocu", archive="cocu", reads=READS)  # noqa: E731
    with pytest.raises(UserError, match="no parquet files; run"):
        load(replace(named, segments=tmp_path))
    write_table(SEGMENTS.empty_table(), tmp_path / "00000.parquet")
    with pytest.raises(
        UserError, match=r"no segments for any training row; check segment_text.split"
    ):
        load(replace(named, segments=tmp_path))
    with pytest.raises(UserError, match="learns from segments and needs data/segments"):
        load(replace(named, segments=None))


def test_run_lengths_are_decoded_for_the_part_that_is_seen(tmp_path):
    """Two pictures of different sizes, more masks than are decoded at once; the other half of one
    is cut away.
    """
    rng, table = np.random.default_rng(0), []
    masks = {"a": rng.random((40, 20, 30)) < 0.5, "b": rng.random((3, 8, 16)) < 0.5}
    for uid, given in masks.items():
        size = dict(zip(("height", "width"), given.shape[1:], strict=True))
        texts = [{"text": uid, "kind": "phrase"}]
        table += [{"uid": uid, "rle": rle, "texts": texts, **size} for rle in encode(given)[0]]
    write_table(pa.Table.from_pylist(table, schema=SEGMENTS), tmp_path / "0.parquet")
    found = read(
        tmp_path,
        {"b": 0, "a": 1},
        2,
        grid=(4, 4),
        encode=ones,
        kinds=["phrase"],
        templates=["{}"],
        coded=True,
    )
    assert isinstance(found.masks, EncodedMasks)
    windows = [Window(0.0, -1.0, 1.0, 1.0), Window(0.0, 0.0, 0.5, 1.0)]
    batch = found.of_rows([0, 1], seed=0, epoch=0, most=64, windows=windows)
    assert batch.masks.shape == (2, 40, 4, 4)
    np.testing.assert_allclose(batch.masks[0, :3], shares(masks["b"][:, :, 8:], (4, 4)), atol=1e-6)
    np.testing.assert_allclose(batch.masks[1, :, :2], shares(masks["a"], (2, 4)), atol=1e-6)
    assert not batch.masks[1, :, 2:].any()
    assert not batch.masks[0, 3:].any()
    whole = found.of_rows([1], seed=0, epoch=0, most=64).masks
    np.testing.assert_allclose(whole[0], shares(masks["a"], (4, 4)), atol=1e-6)


def test_rows_of_pairs_by_their_uids(world, data):
    ids = pq.read_table(world.index / "ids.parquet")["uid"].to_pylist()
    find = RowFinder(world.index, data.rows[::3])
    expected = [row if row in set(data.rows[::3].tolist()) else -1 for row in range(len(ids))]
    assert find(ids).tolist() == expected
    assert find([*ids[::-1], "nobody"]).tolist() == [*expected[::-1], -1]


def test_a_resumed_run_takes_the_segments_that_are_there(named, tmp_path):
    place = replace(named, columns=tmp_path / "columns")
    first = loader.load(place, curation="cocu", archive="cocu", reads=READS).segments
    again = loader.load(
        replace(place, segments=tmp_path), curation="cocu", archive="cocu", reads=READS
    ).segments
    np.testing.assert_array_equal(first.texts[:], again.texts[:])
    assert list(first.phrases) == list(again.phrases)
    other = replace(READS, kinds=("concept",))
    with pytest.raises(UserError, match=r"no segments for any training row"):
        loader.load(place, curation="cocu", archive="cocu", reads=other)
    assert not list(tmp_path.glob("*_segments*"))
