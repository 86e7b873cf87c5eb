"""A training set -> batches; which draw and order each epoch has."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from captionseg.modeling.segmenter import Reads
from captionseg.records import Batch
from captionseg.storage import read_arrays
from captionseg.training import loader
from captionseg.training.augment import Augmenter, AugmentParams
from captionseg.training.batches import Batches, Words
from captionseg.training.loader import TrainingSet


def same(first: Batch, second: Batch) -> bool:
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a is b
               for a, b in zip(vars(first).values(), vars(second).values(), strict=True))


def epoch(batches: Batches, number: int) -> list[Batch]:
    batches.epoch = number
    return list(batches)


def test_a_batch_is_of_the_rows_asked_for(world, data):
    rows = np.array([4, 0, 9])
    batches = Batches(data, batch=3, texts=3, seed=0)
    batch = batches.make(rows, batches.draw(rows, np.random.default_rng(0)))
    index = data.rows[rows]
    pooled, count = read_arrays(world.regions / "pooled"), read_arrays(world.regions / "count")
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
        "regions": torch.float32, "region_mask": torch.bool, "caption_embedding": torch.float32,
        "caption_concepts": torch.int64, "text_embedding": torch.float32, "text_concept": torch.int64,
        "archive": torch.int64,
    }  # fmt: skip


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
        data, texts=np.tile(np.arange(6), (len(data), 1)), weight=np.ones(shape), cluster=np.full(shape, -1)
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
        batches = Batches(data, batch=5, texts=3, seed=0, rank=rank, world=world_size)
        parts = epoch(batches, 3)
        assert len(parts) == len(batches) == len(data) // world_size // 5
        images += [part.regions.flatten(1) for part in parts]
    assert len(torch.cat(images).unique(dim=0)) == len(torch.cat(images))  # noise makes each picture another


def test_ranks_draw_different_noise(data):
    same_rows = np.zeros(30, int)
    first, second = (
        Batches(unclustered(data), batch=5, texts=3, seed=0, rank=rank, world=2).draw(
            same_rows, np.random.default_rng([0, 0, rank, 1])
        )
        for rank in (0, 1)
    )
    assert not np.array_equal(first, second)


def test_ranks_agree_about_the_shape_of_a_batch(data):
    """What is gathered from all ranks must have one shape, however many regions a rank's images have."""
    count = data.count.copy()
    count[data.rows[::2]] = 2
    uneven = dataclasses.replace(data, count=count)
    shapes = {
        tuple(part.regions.shape)
        for rank in (0, 1) for number in range(4)
        for part in epoch(Batches(uneven, batch=2, texts=3, seed=0, rank=rank, world=2), number)
    }  # fmt: skip
    assert len(shapes) == 1


def test_an_epoch_has_full_batches_unless_there_is_only_one(data):
    assert len(Batches(data, batch=8, texts=3, seed=0)) == 4  # 35 images
    only = list(Batches(data, batch=1000, texts=3, seed=0))
    assert [len(b.regions) for b in only] == [35]


@pytest.fixture
def pixels(folders):
    """kind of tokens, masking -> batches of 8 for a model that reads pixels of 16 and tokens."""

    def make(kind: str = "clip", masking: str | None = None, **changes) -> Batches:
        reads = Reads(picture=16, tokens=kind, masking=masking)
        data = loader.load(folders, curation="cocu", archive="cocu", reads=reads)
        augment = Augmenter(AugmentParams(), 16)
        return Batches(data, batch=8, texts=3, seed=0, words=Words(data, reads, "imagenet"), augment=augment,
                       **changes)  # fmt: skip

    return make


def test_pixels_and_tokens_in_place_of_regions_and_embeddings(pixels):
    first = next(iter(pixels()))
    assert first.image.shape == (8, 3, 16, 16)
    assert first.regions.shape[:2] == (8, 0)
    assert first.caption_tokens.shape[0] == 8
    assert first.text_tokens.shape[:2] == (8, 3)
    assert (first.caption_tokens[:, 0] == 49406).all()
    assert (first.text_tokens.max(2).values == 49407).all()  # each is ended, also where there was nothing to draw
    assert first.masked_tokens is None


def test_concepts_are_prompted_anew_each_epoch(pixels):
    batches = pixels()
    decoder = batches.words.tokens.encode

    def said(batch: Batch) -> list[str]:
        return [decoder.decode(row[1 : row.argmax()].tolist()) for row in batch.text_tokens.flatten(0, 1)]

    first, second = (next(iter(batches)) for batches.epoch in (0, 1))
    for texts, batch in ((said(first), first), (said(second), second)):
        names = [batches.data.concepts[c] if c >= 0 else "" for c in batch.text_concept.flatten()]
        assert all(name in text for name, text in zip(names, texts, strict=True))
        assert len({text.replace(name, "{}") for name, text in zip(names, texts, strict=True) if name}) > 5
    assert not torch.equal(first.image, second.image)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(pixels, workers):
    alone, several = pixels(), pixels()
    for number in (0, 1):
        several.epoch = number
        found = list(DataLoader(several, batch_size=None, num_workers=workers))
        assert len(found) == 4
        assert all(map(same, epoch(alone, number), found))


def test_augmentation_leaves_other_random_numbers_alone(pixels):
    batches = iter(pixels())
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    next(batches)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == states[1:]


def test_masked_captions_answers_and_what_is_behind_the_masks(pixels):
    batches = pixels("bert", "all")
    batch, words = next(iter(batches)), batches.words
    concepts, decode = words.concepts, words.tokens.encode.decode
    for row in range(8):
        masked = decode(batch.masked_tokens[row], skip_special_tokens=False)
        at = (batch.masked_tokens[row] == words.tokens.mask).nonzero()[:, 0]
        names = [concepts[c] for c in batch.masked_target[row, at]]
        for name in names:
            masked = masked.replace("[MASK]", name, 1)
        caption = decode(batch.caption_tokens[row], skip_special_tokens=True)
        assert names
        assert masked.replace("[CLS]", "").replace("[SEP]", "").replace("[PAD]", "").strip() == caption
        rest = torch.ones(batch.masked_target.shape[1], dtype=torch.bool)
        rest[at] = False
        assert (batch.masked_target[row, rest] == -1).all()
        answer = decode(batch.answer_tokens[row], skip_special_tokens=True)
        assert answer.endswith(" and ".join(concepts[c] for c in batch.text_concept[row] if c >= 0))
