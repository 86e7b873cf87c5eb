"""Supervision and features -> batches; which draw and order each epoch has."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from captionseg.records import Batch, Supervision, UserError
from captionseg.storage import read_arrays, read_tables, write_table
from captionseg.training import loader
from captionseg.training.loader import Batches, TrainingSet


def same(first: Batch, second: Batch) -> bool:
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a is b
               for a, b in zip(vars(first).values(), vars(second).values(), strict=True))


def epoch(batches: Batches, number: int) -> list[Batch]:
    batches.epoch = number
    return list(batches)


def test_what_is_trained_on(world, data):
    uid = np.array(pq.read_table(world.index / "ids.parquet")["uid"].to_pylist())[data.rows]
    cocu, nouns = (Supervision.from_table(read_tables(world.supervision / rule)) for rule in ("cocu", "nouns"))
    concepts = pq.read_table(world.supervision / "vocabulary" / "concepts.parquet")["text"].to_pylist()
    assert list(uid) == list(cocu.uid)  # all were kept
    for row in range(len(data)):
        assert [concepts[c] for c in data.texts[row] if c >= 0] == [c.text for c in cocu.concepts[row]]
        assert [concepts[c] for c in data.named[row] if c >= 0] == [c.text for c in nouns.concepts[row]]
        assert {concepts[c] for c in data.archive[row] if c >= 0} == {
            c.text for c in (*cocu.concepts[row], *nouns.concepts[row])
        }
        np.testing.assert_allclose(data.weight[row][: len(cocu.concepts[row])], [c.weight for c in cocu.concepts[row]])


def test_a_batch_is_of_the_rows_asked_for(world, data):
    rows = np.array([4, 0, 9])
    batch = Batches(data, batch=3, texts=3, seed=0).make(rows, np.random.default_rng(0))
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
        Batches(unclustered(data), batch=5, texts=3, seed=0, rank=rank, world=2).make(
            same_rows, np.random.default_rng([0, 0, rank, 1])
        )
        for rank in (0, 1)
    )
    assert not torch.equal(first.text_concept, second.text_concept)


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


def test_a_rule_that_was_not_run_is_one_line(world):
    with pytest.raises(UserError, match=r"rule 'entities' was not run; add it to curate.rules"):
        loader.load(world.index, world.regions, world.supervision, curation="entities", archive="nouns")


def dropped(world, folder, keep: int) -> None:
    (folder / "vocabulary").symlink_to(world.supervision / "vocabulary")
    (folder / "nouns").symlink_to(world.supervision / "nouns")
    table = read_tables(world.supervision / "cocu").to_pydict()
    table["kept"] = [i < keep for i in range(len(table["kept"]))]
    written = Supervision.from_table(read_tables(world.supervision / "cocu"))
    written = dataclasses.replace(written, kept=np.array(table["kept"]))
    write_table(written.to_table(), folder / "cocu" / "0.parquet")


def test_only_kept_rows_are_trained_on(world, tmp_path, data):
    dropped(world, tmp_path, keep=3)
    few = loader.load(world.index, world.regions, tmp_path, curation="cocu", archive="nouns")
    assert len(few) == len(few.texts) == len(few.weight) == len(few.archive) == len(few.named) == 3
    np.testing.assert_array_equal(few.rows, data.rows[:3])


def test_nothing_kept_is_one_line(world, tmp_path):
    dropped(world, tmp_path, keep=0)
    with pytest.raises(UserError, match=r"every row was dropped; loosen curate.cocu"):
        loader.load(world.index, world.regions, tmp_path, curation="cocu", archive="nouns")


def test_rows_are_those_of_the_index(world, data: TrainingSet):
    split = pq.read_table(world.index / "ids.parquet")["split"].to_pylist()
    assert {split[row] for row in data.rows} == {"train"}
    assert json.loads((world.supervision / "vocabulary" / "lemma.json").read_text())
