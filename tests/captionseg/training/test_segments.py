"""Segments on disk -> fields of a batch: masks on the grid, texts drawn; and a model that learns
from them.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.utils.data import DataLoader

from captionseg.benchmarks import EvaluateParams
from captionseg.benchmarks.benchmark import Folders as BenchmarkFolders
from captionseg.benchmarks.recipe import evaluate
from captionseg.datasets.shards import read_truth
from captionseg.encoders import TextSpace
from captionseg.grids import Window, shares
from captionseg.inference import Predictor, Protocol
from captionseg.modeling import saved
from captionseg.modeling.segmenter import Reads
from captionseg.records import SEGMENTS, UserError
from captionseg.segment_text.rle import encode
from captionseg.segmenters import Felzenszwalb, Hierarchy, MasksParams
from captionseg.storage.writing import write_table
from captionseg.text.prompts import SEGMENT
from captionseg.training import PretrainParams, Recipe, loader
from captionseg.training.augment import AugmentParams, Cropper
from captionseg.training.batches import Batches
from captionseg.training.curve import read as read_curve
from captionseg.training.loader import Folders, TrainingSet
from captionseg.training.pretrain import model_config, pretrain
from captionseg.training.segments import Coded, SegmentSet, read

READS = Reads(dense=True, segments=3, kinds=("phrase", "expression", "concept"))
MASKS = MasksParams(
    "hierarchy", hierarchy=Hierarchy(high=50000, maker=Felzenszwalb(side=16, sigma=0.0, min_size=8))
)


@pytest.fixture
def named(folders, segments) -> Folders:
    return replace(folders, segments=segments)


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
    assert torch.equal(batch.segment_masks, expected)
    assert (batch.segment_text < 0).tolist() == [[False] * 2, [True] * 2, [False] * 2]
    assert (batch.segment_texts[1] == -1).all()
    space = TextSpace.load(world.encoder)
    for i in (0, 2):
        left, right = true[int(data.rows[rows[i]])]
        assert (batch.segment_texts[i] >= 0).sum(1).tolist() == [2, 1]
        for s, name in enumerate(({left, f"a {left}"}, {right})):
            prompts = space.encode([t.format(n) for n in name for t in SEGMENT])
            assert np.abs(prompts - batch.segment_embedding[i, s].numpy()).max(1).min() < 1e-3
            assert batch.segment_text[i, s] in batch.segment_texts[i, s]
    assert batch.dense is not None
    assert batch.regions.shape == (3, 0, 0)


def test_equal_texts_are_one_text_in_one_prompt(data, true):
    found = data.segments
    assert len(found.embedding) == 9  # three objects with and without an article, three grounds
    assert found.embedding.shape[1:] == (4, 16)
    batch = next(iter(Batches(data, batch=30, texts=3, seed=0)))
    number, said = batch.segment_text.flatten(), batch.segment_embedding.flatten(0, 1)
    assert number.unique().tolist() == [-1, *range(9)] or number.unique().tolist() == list(range(9))
    for text in range(9):
        assert len(said[number == text].unique(dim=0)) == 1


def test_texts_are_drawn_from_seed_epoch_and_row_alone(data):
    segments, rows = data.segments, data.rows[:20]

    def draw(rows, **place):
        return segments.of_rows(rows, **{"seed": 0, "epoch": 0, "most": 3, **place})

    first = draw(rows)["segment_text"]
    assert torch.equal(draw(rows)["segment_text"], first)
    assert torch.equal(draw(rows[::-1])["segment_text"], first.flip(0))
    for other in (draw(rows, epoch=1), draw(rows, seed=1)):
        assert 0.2 < (other["segment_text"][:, 0] != first[:, 0]).float().mean() < 0.8
        assert torch.equal(other["segment_text"][:, 1], first[:, 1])  # there is but one text
    prompts = torch.stack([draw(rows, epoch=e)["segment_embedding"][0, 1] for e in range(12)])
    assert len(prompts.unique(dim=0)) == 4


def test_workers_and_ranks_change_nothing(data):
    whole = Batches(data, batch=8, texts=3, seed=0)
    found = list(
        DataLoader(Batches(data, batch=8, texts=3, seed=0), batch_size=None, num_workers=2)
    )
    for one, two in zip(whole, found, strict=True):
        for name in ("masks", "embedding", "text", "texts"):
            assert torch.equal(getattr(one, f"segment_{name}"), getattr(two, f"segment_{name}"))
    parts = [
        next(iter(Batches(data, batch=8, texts=3, seed=0, rank=rank, world=2))) for rank in (0, 1)
    ]
    for name in ("masks", "embedding", "text", "texts"):
        found = torch.cat([getattr(part, f"segment_{name}") for part in parts])
        assert torch.equal(found, getattr(next(iter(whole)), f"segment_{name}"))


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
        mine = found["segment_text"][0].tolist()
        assert len(set(mine)) == 4
        assert found["segment_masks"][0, :, 0, 0].tolist() == mine
        assert found["segment_text"][1].tolist() == [10, -1, -1, -1]
        seen |= set(mine)
    assert seen == set(range(10))


def test_ranks_agree_about_the_shape_of_a_batch():
    segments = toy_set([2, 7, 0])
    for among, widths in ((None, [2, 4, 1]), ([0, 1, 2], [4, 4, 4]), ([0, 2], [2, 2, 2])):
        rows = [row for row in range(3) if among is None or row in among]
        found = [segments.of_rows([row], seed=0, epoch=0, most=4, among=among) for row in rows]
        assert [fields["segment_masks"].shape[1] for fields in found] == widths[: len(rows)]


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
    assert (every.said, every.texts.tolist()) == (
        ["a dog", "a dog on grass", "dog", "grass"],
        [[0, 1, 2], [3, -1, -1]],
    )
    captions = take(kinds=["phrase", "expression"])
    assert (captions.said, captions.texts.tolist()) == (["a dog", "a dog on grass"], [[0, 1]])
    with pytest.raises(UserError, match="the kinds of texts that the model learns from"):
        take(kinds=["sound"])


def ones(texts) -> np.ndarray:
    return np.ones((len(texts), 2), np.float32)


def test_nothing_to_learn_from_is_one_line(named, tmp_path):
    load = lambda folders: loader.load(folders, curation="cocu", archive="cocu", reads=READS)  # noqa: E731
    with pytest.raises(UserError, match="no parquet files in"):
        load(replace(named, segments=tmp_path))
    write_table(SEGMENTS.empty_table(), tmp_path / "00000.parquet")
    with pytest.raises(
        UserError, match=r"no segment of any row that is trained on; check segment_text.split"
    ):
        load(replace(named, segments=tmp_path))
    with pytest.raises(UserError, match="needs the folder that segment_text writes"):
        load(replace(named, segments=None))


def test_a_recipe_learns_from_segments_and_labels_pictures(named, params, tmp_path):
    recipe = Recipe("cocu", "cocu", model="use")
    metrics = pretrain(
        recipe,
        replace(params, epochs=40, workers=1),
        named,
        name="x",
        out=tmp_path,
        context={"prompts": "simple", "regions": {"maker": "toy"}},
        tell=lambda *_: None,
    )
    assert metrics["tune_miou"] > 80
    assert set((tmp_path / "concepts.txt").read_text().split()) == {
        "dog",
        "cat",
        "bird",
        "sand",
        "water",
        "grass",
    }
    places = BenchmarkFolders(named.prepared, named.truth)
    result, *_ = evaluate(tmp_path, places, EvaluateParams(bootstrap=5, device="cpu"), seed=0)
    assert result["scores"]["miou"] > 80
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, :30], image[:, 30:] = (200, 40, 40), (20, 160, 160)
    for asked in (MasksParams(), MASKS):
        found = Predictor.load(tmp_path, device="cpu", protocol=Protocol(masks=asked))
        labels = found.segment(image, ["dog", "cat", "sand", "water"])
        assert (labels[:, :30] == 0).all()
        assert (labels[:, 30:] == 2).all()
    found = found.detect(image, ["dog", "cat"], ["sand", "water"])
    assert found.classes.tolist() == [0]
    assert np.array_equal(found.masks[0], np.tile(np.arange(60) < 30, (40, 1)))
    masks, *_ = evaluate(
        tmp_path, places, EvaluateParams(bootstrap=5, device="cpu", masks=MASKS), seed=0
    )
    assert masks["scores"]["miou"] > 80
    assert (
        masks["scores"]["mask_map"] > 80
    )  # a region is half a thing, a mask of the hierarchy all of it
    assert result["scores"]["mask_map"] < 10


def test_masks_of_a_recipe_are_saved_with_its_model(named, params, tmp_path):
    given = Recipe("cocu", "cocu", model="use", masks=MASKS)
    with pytest.raises(ValueError, match="masks: model segment_mil reads no segments"):
        replace(given, model="segment_mil")
    pretrain(
        given,
        replace(params, epochs=1, workers=1),
        named,
        name="r",
        context={"prompts": "simple"},
        out=tmp_path,
        tell=lambda *_: None,
    )
    assert saved.load(tmp_path).context["masks"]["maker"] == "hierarchy"
    found = Predictor.load(
        tmp_path, device="cpu"
    )  # no regions are asked for: the context names no maker of them
    assert found.protocol.masks == MASKS
    assert found.segment(np.zeros((20, 30, 3), np.uint8), ["dog", "cat"]).shape == (20, 30)


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
    assert isinstance(found.masks, Coded)
    windows = [Window(0.0, -1.0, 1.0, 1.0), Window(0.0, 0.0, 0.5, 1.0)]
    batch = found.of_rows([0, 1], seed=0, epoch=0, most=64, windows=windows)
    assert batch["segment_masks"].shape == (2, 40, 4, 4)
    np.testing.assert_allclose(
        batch["segment_masks"][0, :3], shares(masks["b"][:, :, 8:], (4, 4)), atol=1e-6
    )
    np.testing.assert_allclose(
        batch["segment_masks"][1, :, :2], shares(masks["a"], (2, 4)), atol=1e-6
    )
    assert not batch["segment_masks"][1, :, 2:].any()
    assert not batch["segment_masks"][0, 3:].any()
    whole = found.of_rows([1], seed=0, epoch=0, most=64)["segment_masks"]
    np.testing.assert_allclose(whole[0], shares(masks["a"], (4, 4)), atol=1e-6)


@pytest.fixture
def live(tmp_path) -> dict:
    """Settings of a model that sees crops of 32 pixels through a small convolutional network."""
    torch.manual_seed(0)
    path = tmp_path / "net.safetensors"
    save_file(timm.create_model("test_resnet", pretrained=False).state_dict(), path)
    return {
        "networks": [{"name": "test_resnet", "weights": str(path), "blocks": 4}],
        "crop": 32,
        "cell": 8,
    }


def test_crops_come_with_what_is_left_of_their_segments(named, live):
    reads = model_config(Recipe("cocu", "cocu", model="use", settings=live), PretrainParams()).reads
    data = loader.load(named, curation="cocu", archive="cocu", reads=reads)
    assert data.dense is None
    whole, far = (
        Cropper(AugmentParams(scales=(1.0, 1.0)), 32),
        Cropper(AugmentParams(scales=(3.0, 3.0)), 32),
    )
    batch = next(iter(Batches(data, batch=8, texts=3, seed=0, augment=whole)))
    half = torch.tensor([1.0, 1.0, 0.0, 0.0]).expand(4, 4)
    there = batch.segment_text[:, 0] >= 0
    for masks in batch.segment_masks[there]:
        torch.testing.assert_close(masks, torch.stack([half, 1 - half]))
    workers = DataLoader(
        Batches(data, batch=8, texts=3, seed=0, augment=far), batch_size=None, num_workers=2
    )
    left = [0, 0]
    for one, two in zip(workers, Batches(data, batch=8, texts=3, seed=0, augment=far), strict=True):
        assert torch.equal(one.segment_masks, two.segment_masks)
        assert torch.equal(one.image, two.image)
        there = one.segment_text[:, 0] >= 0
        torch.testing.assert_close(
            one.segment_masks.sum(1)[there], torch.ones(int(there.sum()), 4, 4)
        )
        area = one.segment_masks[there].sum((2, 3))
        left = [left[0] + int((area == 0).sum()), left[1] + int((area > 15.9).sum())]
    assert min(left) > 3  # crops of a third of a picture often show one half of it


def test_a_recipe_learns_from_crops_and_labels_whole_pictures(named, params, live, tmp_path):
    """Pipeline in small: loader, crops, live towers, polynomial schedule, tune, saved model,
    evaluation, predictor.
    """
    recipe = Recipe("cocu", "cocu", model="use", settings=live)
    params = replace(
        params, epochs=25, schedule="poly", warmup=4, augment=AugmentParams(scales=(0.8, 1.5))
    )
    metrics = pretrain(
        recipe,
        params,
        named,
        name="x",
        out=tmp_path / "model",
        tell=lambda *_: None,
        context={"prompts": "simple", "regions": {"maker": "toy"}},
    )
    rows = read_curve(tmp_path / "model" / "seeds" / "0" / "curve.csv")
    losses = [value for _, name, value in rows if name == "loss"]
    assert np.mean(losses[-4:]) < 0.7 * np.mean(losses[:4])
    assert sum(name == "segments_vanished" for _, name, _ in rows) == 25
    assert {step for step, name, _ in rows if name == "segments"} == set(range(3, 100, 4))
    assert metrics["tune_miou"] > 60
    assert (tmp_path / "model" / "model.safetensors").stat().st_size < 400_000
    places = BenchmarkFolders(named.prepared, named.truth)
    result, *_ = evaluate(
        tmp_path / "model", places, EvaluateParams(bootstrap=5, device="cpu"), seed=0
    )
    assert result["scores"]["miou"] > 60
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, :30], image[:, 30:] = (200, 40, 40), (20, 160, 160)
    labels = Predictor.load(tmp_path / "model", device="cpu").segment(
        image, ["dog", "cat", "sand", "water"]
    )
    assert labels.shape == (40, 60)
    assert (labels[:, :30] == 0).all()
    Path(live["networks"][0]["weights"]).unlink()
    with pytest.raises(UserError, match="no such file of weights"):
        Predictor.load(tmp_path / "model", device="cpu").segment(image, ["dog"])
