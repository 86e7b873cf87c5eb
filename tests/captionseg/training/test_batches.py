"""A training set -> batches; which draw and order each epoch has."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from captionseg.model_inputs import Batch
from captionseg.modeling.segmenter import InputSpec
from captionseg.records import UserError
from captionseg.storage.folders import read_arrays
from captionseg.training import loader
from captionseg.training.batches import Batches, BatchesAhead, make_loader, shuffle_rows
from captionseg.training.training_set import TrainingSet


def same(first: object, second: object) -> bool:
    """Records with equal tensors, records in them too."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if not dataclasses.is_dataclass(first):
        return first is second
    pairs = zip(vars(first).values(), vars(second).values(), strict=True)
    return type(first) is type(second) and all(same(a, b) for a, b in pairs)


def epoch(batches: Batches, number: int) -> list[Batch]:
    batches.epoch = number
    return list(batches)


def test_a_batch_is_of_the_rows_asked_for(world, data):
    rows = np.array([4, 0, 9])
    batches = Batches(data, batch=3, texts=3, seed=0)
    batch = batches.make(rows, batches.draw(rows, np.random.default_rng(0)))
    index = data.rows[rows]
    pooled, count = world.pooled, read_arrays(world.regions / "count")
    np.testing.assert_array_equal(batch.regions, pooled[index][:, :4].astype(np.float32))
    assert batch.region_mask.sum(1).tolist() == count[index].tolist() == [4, 4, 4]
    np.testing.assert_array_equal(
        batch.caption_embedding, read_arrays(world.index / "text_emb")[index].astype(np.float32)
    )
    np.testing.assert_array_equal(batch.caption_concepts, data.named[rows])
    np.testing.assert_array_equal(batch.archive, data.archive[rows])
    for row in range(3):
        drawn = batch.text_concept[row].tolist()
        assert set(drawn) - {-1} <= set(data.texts[rows[row]].tolist())
        for concept, embedding in zip(drawn, batch.text_embedding[row], strict=True):
            if concept >= 0:
                np.testing.assert_array_equal(embedding, data.concept_embedding[concept])
    assert {name: value.dtype for name, value in vars(batch).items() if value is not None} == {
        "regions": torch.float32,
        "region_mask": torch.bool,
        "caption_embedding": torch.float32,
        "caption_concepts": torch.int64,
        "text_embedding": torch.float32,
        "text_concept": torch.int64,
        "archive": torch.int64,
    }


def test_order_and_draws_are_new_each_epoch_and_the_same_each_time(data):
    one, two = (Batches(data, batch=8, texts=3, seed=0) for _ in range(2))
    for number in (0, 1):
        assert all(map(same, epoch(one, number), epoch(two, number)))
    first, second = epoch(one, 0), epoch(one, 1)
    assert not any(map(same, first, second))
    other = Batches(data, batch=8, texts=3, seed=1)
    assert not any(map(same, first, epoch(other, 0)))


def unclustered(data: TrainingSet) -> TrainingSet:
    shape = (len(data), 6)
    return dataclasses.replace(
        data,
        texts=np.tile(np.arange(6), (len(data), 1)),
        weight=np.ones(shape),
        cluster=np.full(shape, -1),
    )


def test_concepts_are_drawn_anew_for_the_same_image(data):
    wide = unclustered(data)
    batches = Batches(wide, batch=len(wide), texts=3, seed=0)
    drawn = []
    for number in range(2):
        order = np.random.default_rng([0, number]).permutation(len(wide))
        drawn.append(epoch(batches, number)[0].text_concept[np.argsort(order)])
    assert (drawn[0] != drawn[1]).any(1).float().mean() > 0.5


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_ranks_share_the_images_among_them(data, world_size):
    images = []
    for rank in range(world_size):
        batches = Batches(data, batch=5 * world_size, texts=3, seed=0, rank=rank, world=world_size)
        parts = epoch(batches, 3)
        assert len(parts) == len(batches) == len(data) // (5 * world_size)
        images += [part.regions.flatten(1) for part in parts]
    # noise makes each picture another
    assert len(torch.cat(images).unique(dim=0)) == len(torch.cat(images))


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_have_the_batches_of_one_process_split(data, world_size):
    """Their parts in the order of ranks are what one process sees: rows, draws, and how wide a
    batch is.
    """
    count = data.count.copy()
    count[data.rows[::2]] = 2
    uneven = dataclasses.replace(unclustered(data), count=count)
    for number in range(3):
        whole = epoch(Batches(uneven, batch=8, texts=3, seed=0), number)
        parts = [
            epoch(Batches(uneven, batch=8, texts=3, seed=0, rank=r, world=world_size), number)
            for r in range(world_size)
        ]
        assert all(
            same(one, joined(split))
            for one, split in zip(whole, zip(*parts, strict=True), strict=True)
        )


def joined(parts: Sequence[Batch]) -> Batch:
    """Batches of ranks in one."""
    found = {
        k: torch.cat([getattr(part, k) for part in parts])
        for k, v in vars(parts[0]).items()
        if v is not None
    }
    return Batch(**found)


def test_a_batch_that_ranks_cannot_split_is_one_line(data):
    with pytest.raises(
        UserError, match=r"pretrain.batch: 9 cannot be split evenly over the 2 processes.*multiple"
    ):
        Batches(data, batch=9, texts=3, seed=0, world=2)
    assert Batches(data, batch=100, texts=3, seed=0, world=2).batch == 34  # of 35 images


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_goes_on_in_its_middle(data, workers):
    """Whoever makes the batches, from any step on, they are those that an undisturbed epoch has
    there.
    """
    whole = [epoch(Batches(data, batch=8, texts=3, seed=0), number) for number in range(2)]
    for step in (0, 1, 3, 4, 6):
        batches = Batches(data, batch=8, texts=3, seed=0)
        batches.start_at(step)
        assert (batches.epoch, batches.first) == divmod(step, 4)
        found = list(DataLoader(batches, batch_size=None, num_workers=workers))
        assert all(map(same, found, whole[step // 4][step % 4 :]))
        assert len(found) == 4 - step % 4


def test_a_thread_makes_the_same_batches_and_leaves_the_same_random_state(data):
    plain, ahead = (Batches(data, batch=8, texts=3, seed=0) for _ in range(2))
    states = []
    for loader_of in (DataLoader(plain, batch_size=None, num_workers=0), make_loader(ahead, 0)):
        assert len(loader_of) == 4
        torch.manual_seed(7)
        states.append(([list(loader_of) for _ in range(2)], torch.rand(3)))
    assert isinstance(loader_of.dataset, BatchesAhead)
    (first, drawn), (second, again) = states
    assert all(map(same, first[0] + first[1], second[0] + second[1]))
    assert torch.equal(drawn, again)


def test_pictures_are_augmented_in_the_same_thread(data):
    """Augmentation seeds torch's global generator, which dropout draws from."""
    batches = Batches(data, batch=8, texts=3, seed=0, augment=lambda *_: None)
    assert make_loader(batches, 0).dataset is batches


def test_an_epoch_has_full_batches_unless_there_is_only_one(data):
    assert len(Batches(data, batch=8, texts=3, seed=0)) == 4  # 35 images
    only = list(Batches(data, batch=1000, texts=3, seed=0))
    assert [len(b.regions) for b in only] == [35]


def test_dense_features_in_place_of_regions(world, folders):
    data = loader.load(folders, curation="cocu", archive="cocu", reads=InputSpec(dense=True))
    rows = np.array([4, 0, 9])
    batches = Batches(data, batch=3, texts=3, seed=0)
    batch = batches.make(rows, batches.draw(rows, np.random.default_rng(0)))
    expected = read_arrays(world.features / "dense")[data.rows[rows]]
    assert batch.dense.dtype == torch.float32
    np.testing.assert_array_equal(batch.dense, expected.astype(np.float32))
    assert (batch.regions.shape, batch.region_mask.shape) == ((3, 0, 0), (3, 0))
    assert batch.image is batch.tokens is batch.masked is batch.segments is None


STARTS = np.array([0, 40, 40, 100, 150, 210, 250, 300])  # seven shards, one of them empty


def draw_orders(window: int, count: int) -> np.ndarray:
    """Orders of the 300 rows in so many epochs: the place of each row."""
    orders = [shuffle_rows(STARTS, window, np.random.default_rng([0, n]))[0] for n in range(count)]
    return np.argsort(orders, axis=1)


def test_windows_have_every_row_once_and_whole_shards():
    for window, count in ((1, 6), (2, 3), (4, 2), (6, 1), (100, 1)):
        order, ends = shuffle_rows(STARTS, window, np.random.default_rng(0))
        assert sorted(order.tolist()) == list(range(300))
        assert (len(ends), ends[-1]) == (count, 300)
        for rows in np.split(order, ends[:-1]):
            shards = np.unique(np.searchsorted(STARTS, rows, side="right") - 1)
            assert len(rows) == np.diff(STARTS)[shards].sum()
            assert len(shards) <= window


def test_a_row_may_come_anywhere_and_others_each_epoch():
    """Places are uniform over the epoch, so a row moves by a third of it from epoch to epoch."""
    for window in (1, 2, 6):
        places = draw_orders(window, 200)
        assert len(np.unique(places[:, :5], axis=0)) > 190
        assert np.abs(places.mean(0) / 300 - 0.5).max() < 0.09  # deviation of a mean is .02
        moved = np.abs(np.diff(places, axis=0)).mean() / 300
        assert moved == pytest.approx(1 / 3, abs=0.03)


@pytest.mark.parametrize("window", [1, 2, 3, 6])
def test_rows_of_a_shard_meet_as_often_as_their_window_implies(window):
    """Two rows of shard 4 are in one half of their window, in batches of which there are many."""
    places, batch = draw_orders(window, 400), 10
    mine = places[:, 150:210] // batch
    together = (mine[:, :, None] == mine[:, None]).sum((1, 2)) - mine.shape[1]
    found = together.mean() / (60 * 59)
    sizes = np.diff(STARTS)[[0, 2, 3, 5, 6]]
    rows_of_window = 60 + (min(window, 6) - 1) * sizes.mean()
    assert found == pytest.approx((batch - 1) / (rows_of_window - 1), rel=0.08)


def test_an_epoch_of_windows_goes_on_in_its_middle_and_is_split_over_ranks(data):
    """Shards of 19 and 16 rows; the first window is a shard."""

    def windowed(**place) -> Batches:
        batches = Batches(data, batch=8, texts=3, seed=0, **place)
        batches.shuffle = 1
        return batches

    order, ends = windowed().shuffle_epoch()
    assert ends.tolist() in ([19, 35], [16, 35])
    assert sorted(order[: ends[0]].tolist()) in (list(range(19)), list(range(19, 35)))
    whole = epoch(windowed(), 0)
    assert not all(map(same, whole, epoch(Batches(data, batch=8, texts=3, seed=0), 0)))
    for step, workers in ((1, 0), (3, 2)):
        batches = windowed()
        batches.start_at(step)
        found = list(DataLoader(batches, batch_size=None, num_workers=workers))
        assert all(map(same, found, whole[step:]))
    parts = [epoch(windowed(rank=rank, world=2), 0) for rank in (0, 1)]
    for one, split in zip(whole, zip(*parts, strict=True), strict=True):
        assert torch.equal(one.text_concept, torch.cat([part.text_concept for part in split]))
