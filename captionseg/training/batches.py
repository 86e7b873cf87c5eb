"""Makes batches from a training set."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from captionseg.grids import Window
from captionseg.model_inputs import Batch, MaskedCaptions
from captionseg.records import UserError
from captionseg.runtime.lifeline import follow_maker
from captionseg.runtime.threads import make_ahead
from captionseg.supervision.sampling import draw
from captionseg.training.augment import Augmenter, Cropper
from captionseg.training.batch_texts import BatchTexts
from captionseg.training.training_set import TrainingSet


class Batches(IterableDataset):
    """The batches of an epoch. Concepts are drawn anew in each epoch, from (seed, epoch) and the
    position in the batch alone.

    With W ranks, rank r gets the r-th of W equal parts of each batch of a single process.

    Args:
        data: the training set.
        batch: number of images per batch on all ranks; the last, smaller batch of an epoch is left
            out, unless it is the only one.
        texts: L, number of concepts drawn per image.
        seed: seed of order, draws and augmentation.
        rank: number of this rank.
        world: W, number of ranks.
        words: tokenises texts, for models that read tokens.
        augment: augments pictures, for models that read pixels.

    Attributes:
        shuffle: number of shards whose rows are shuffled together, see `shuffle_rows`; 0 shuffles
            all rows.
        epoch: the next epoch to read.
        first: its first batch to read, see `start_at`.

    Raises:
        UserError: if a batch cannot be divided equally, or is only one image.
    """

    def __init__(
        self,
        data: TrainingSet,
        *,
        batch: int,
        texts: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        words: BatchTexts | None = None,
        augment: Augmenter | Cropper | None = None,
    ) -> None:
        check_split(batch, world)
        self.data, self.texts, self.seed, self.rank, self.world = data, texts, seed, rank, world
        self.batch = min(batch, len(data) - len(data) % world)
        if self.batch < 2:
            raise UserError(
                "pretrain.batch: a batch of one picture has no negatives, so nothing can be "
                f"learnt; raise it (now {batch}) or keep more rows (curation kept {len(data)})"
            )
        self.words, self.augment, self.epoch, self.first = words, augment, 0, 0
        self.shuffle = 0

    def __len__(self) -> int:
        return len(self.data) // self.batch

    def start_at(self, step: int) -> None:
        """Continue after `step` batches of all epochs."""
        self.epoch, self.first = divmod(step, len(self))

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches; each of n DataLoader workers makes every n-th batch."""
        order, ends = self.shuffle_epoch()
        rng = np.random.default_rng([self.seed, self.epoch, 0, 1])
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        read = 0  # rows that are being read
        for step in range(len(self)):
            start, end = step * self.batch, (step + 1) * self.batch
            rows = order[start:end]
            drawn = self.draw(rows, rng)
            if step >= self.first and (step - self.first) % workers == worker:
                if self.data.pictures is not None and len(ends) > 1 and read < end:
                    wanted = ends[np.searchsorted(ends, end)]
                    coming = order[max(start, read) : wanted]
                    self.data.pictures.read_ahead(self.data.rows[coming])
                    read = wanted
                yield self.make(rows, drawn)

    def shuffle_epoch(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of an epoch in their order, and the ends of windows of `shuffle`
        shards.
        """
        rng, data = np.random.default_rng([self.seed, self.epoch]), self.data
        if not self.shuffle or data.shards is None:
            return rng.permutation(len(data)), np.array([len(data)])
        return shuffle_rows(np.searchsorted(data.rows, data.shards), self.shuffle, rng)

    def draw(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw concepts for rows [B] of the training set: [B, L], -1 pads."""
        data = self.data
        columns = draw(data.weight[rows], data.cluster[rows], self.texts, rng)
        texts = data.texts[rows].astype(np.int64)
        return np.where(columns >= 0, np.take_along_axis(texts, np.maximum(columns, 0), 1), -1)

    def make(self, rows: np.ndarray, drawn: np.ndarray) -> Batch:
        """Make this rank's part of a batch.

        Args:
            rows: [B] rows of the training set.
            drawn: [B, L] concepts drawn for them, -1 pads.
        """
        data, batch_rows, all_drawn = self.data, rows, drawn
        part = len(rows) // self.world
        part_of_rank = slice(self.rank * part, (self.rank + 1) * part)
        rows, drawn = rows[part_of_rank], drawn[part_of_rank]
        index, batch_index = data.rows[rows], data.rows[batch_rows]
        (regions, mask), (image, windows) = self.regions(index, batch_index), self.pictures(index)
        batch = Batch(
            regions,
            mask,
            torch.from_numpy(data.caption_embedding[index].astype(np.float32)),
            torch.from_numpy(data.named[rows].astype(np.int64)),
            torch.from_numpy(data.concept_embedding[np.maximum(drawn, 0)]),
            torch.from_numpy(drawn),
            torch.from_numpy(data.archive[rows].astype(np.int64)),
            image=image,
            dense=None
            if data.dense is None
            else torch.from_numpy(data.dense[index].astype(np.float32)),
        )
        if data.segments is not None:
            segments = data.segments.of_rows(
                index,
                seed=self.seed,
                epoch=self.epoch,
                most=data.reads.segments,
                among=batch_index,
                windows=windows,
            )
            batch = dataclasses.replace(batch, segments=segments)
        if self.words is None:
            return dataclasses.replace(batch, masked=self.masked_embeddings(rows))
        rng = np.random.default_rng([self.seed, self.epoch, int(batch_rows[0]), 3])
        tokens, masked = self.words(batch_rows, all_drawn, rng, part_of_rank)
        return dataclasses.replace(batch, tokens=tokens, masked=masked)

    def masked_embeddings(self, rows: np.ndarray) -> MaskedCaptions | None:
        """Return masked captions for rows [B] of the training set, as embeddings; None if the model
        does not read them.
        """
        data = self.data
        if data.masked is None or data.masked_target is None:
            return None
        return MaskedCaptions(
            torch.from_numpy(data.masked_target[rows].astype(np.int64)),
            embedding=torch.from_numpy(data.masked[rows]),
        )

    def regions(self, index: np.ndarray, batch_index: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return features [B, S, F] and mask [B, S] of regions; S is 0 if the model reads none.

        Args:
            index: [B] rows of the index.
            batch_index: rows of the index of the whole batch, which determine S.
        """
        data = self.data
        if not data.reads.regions:
            return torch.zeros(len(index), 0, 0), torch.zeros(len(index), 0, dtype=torch.bool)
        count = data.count[index].astype(np.int64)
        # regions are padded to the maximum of all images
        most = max(1, int(data.count[batch_index].max()))
        return (
            torch.from_numpy(data.regions[index][:, :most].astype(np.float32)),
            torch.from_numpy(np.arange(most) < count[:, None]),
        )

    def pictures(self, index: np.ndarray) -> tuple[Tensor | None, list[Window] | None]:
        """Return augmented pictures [B, 3, side, side], and their windows if they are cropped.

        The augmentation depends on (seed, epoch, row) alone.

        Args:
            index: [B] rows of the index.
        """
        pictures, augment = self.data.pictures, self.augment
        if pictures is None or augment is None:
            return None, None
        places = [(pictures[int(row)], [self.seed, self.epoch, int(row), 4]) for row in index]
        if isinstance(augment, Augmenter):
            return torch.stack([augment(*place) for place in places]), None
        crops, windows = zip(*(augment(*place) for place in places), strict=True)
        return torch.stack(crops), list(windows)


def shuffle_rows(
    starts: np.ndarray, window: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Shuffle the rows of shards so that only a few shards are read at a time.

    Shards are put into random order, and every `window` of them are shuffled together.

    Args:
        starts: [S + 1]; the rows of shard i are those from `starts[i]` to before `starts[i + 1]`.
        window: number of shards.
        rng: generator of both orders.

    Returns:
        all rows in their order, and where windows end in it.
    """
    shards: list[int] = rng.permutation(np.flatnonzero(np.diff(starts))).tolist()
    parts = [np.arange(*starts[shard : shard + 2].tolist()) for shard in shards]
    windows = [
        rng.permutation(np.concatenate(parts[first : first + window]))
        for first in range(0, len(parts), window)
    ]
    return np.concatenate(windows), np.cumsum([len(rows) for rows in windows])


class BatchesAhead(IterableDataset):
    """Batches of which a thread makes the next one while a step is computed.

    Args:
        batches: the batches; making them must not use torch's global generator.
    """

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return make_ahead(self.batches)


class QuietLoader(DataLoader):
    """A DataLoader that forks its workers while threads of collective operations are idle.

    A thread of gloo that releases a Python tensor locks the interpreter's list of threads. A
    process that is forked at this moment waits for the lock forever (CPython 3.11).
    """

    QUIET = 0.1  # seconds before forking
    PATIENCE = 1800.0  # seconds that a batch may take before its worker counts as hung

    def __iter__(self) -> Any:
        if self.num_workers:
            time.sleep(self.QUIET)
        return super().__iter__()


def make_loader(batches: Batches, workers: int) -> DataLoader:
    """Build the DataLoader of batches, made by `workers` processes; 0 means this process."""
    if not workers and batches.augment is None:
        return DataLoader(BatchesAhead(batches), batch_size=None)
    if batches.world == 1 or not workers:
        return DataLoader(
            batches, batch_size=None, num_workers=workers, worker_init_fn=follow_maker
        )
    return QuietLoader(
        batches,
        batch_size=None,
        num_workers=workers,
        worker_init_fn=follow_maker,
        timeout=QuietLoader.PATIENCE,
    )


def check_split(batch: int, world: int) -> None:
    """Check that a batch can be divided equally over `world` ranks.

    Raises:
        UserError: if it cannot.
    """
    if batch % world:
        raise UserError(
            f"pretrain.batch: {batch} cannot be split evenly over the {world} processes of "
            f"runtime.devices x runtime.nodes; use a multiple of {world}"
        )
