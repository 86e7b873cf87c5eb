"""A training set -> batches. The only place where a Batch is made."""

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
from captionseg.supervision.sampling import draw
from captionseg.training.augment import Augmenter, Cropper
from captionseg.training.batch_texts import BatchTexts
from captionseg.training.training_set import TrainingSet


class Batches(IterableDataset):
    """One epoch of batches; concepts are drawn anew in each, from (seed, epoch) and the place in
    the batch alone.

    W ranks see what one process sees, split: rank r has the r-th of W equal parts of each batch.

    Args:
        data: what to train on.
        batch: images of a batch on all ranks; the last, smaller batch of an epoch is left out
            unless it is the only.
        texts: L.
        seed: of order, draws and augmentation.
        rank, world: which part of each batch; see above.
        words: the texts as tokens, where the model reads them.
        augment: of pictures, where it reads those.

    Attributes:
        epoch: that is read next, from batch `first` on, see `start_at`.
        first: see epoch.

    Raises:
        UserError: if the ranks cannot have equal parts, or a batch is one image.
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

    def __len__(self) -> int:
        return len(self.data) // self.batch

    def start_at(self, step: int) -> None:
        """Go on after `step` batches of all epochs, for one epoch."""
        self.epoch, self.first = divmod(step, len(self))

    def __iter__(self) -> Iterator[Batch]:
        """A worker of several makes every n-th batch, and draws for the others only their
        concepts.
        """
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.data))
        rng = np.random.default_rng([self.seed, self.epoch, 0, 1])
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        for step in range(len(self)):
            rows = order[step * self.batch : (step + 1) * self.batch]
            drawn = self.draw(rows, rng)
            if step >= self.first and (step - self.first) % workers == worker:
                yield self.make(rows, drawn)

    def draw(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """[B, L] concepts for some rows of the training set, -1 where there is none."""
        data = self.data
        columns = draw(data.weight[rows], data.cluster[rows], self.texts, rng)
        return np.where(
            columns >= 0, np.take_along_axis(data.texts[rows], np.maximum(columns, 0), 1), -1
        )

    def make(self, rows: np.ndarray, drawn: np.ndarray) -> Batch:
        """This rank's part of the batch of some rows of the training set with the concepts drawn
        for them.
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
            torch.from_numpy(data.named[rows]),
            torch.from_numpy(data.concept_embedding[np.maximum(drawn, 0)]),
            torch.from_numpy(drawn),
            torch.from_numpy(data.archive[rows]),
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
        """Of rows of the training set, for models that read embeddings."""
        data = self.data
        if data.masked is None or data.masked_target is None:
            return None
        return MaskedCaptions(
            torch.from_numpy(data.masked_target[rows]),
            embedding=torch.from_numpy(data.masked[rows]),
        )

    def regions(self, index: np.ndarray, batch_index: np.ndarray) -> tuple[Tensor, Tensor]:
        """Features and mask of regions of rows of the index, as wide as `every` row of the whole
        batch needs; none where the model reads something else.
        """
        data = self.data
        if not data.reads.regions:
            return torch.zeros(len(index), 0, 0), torch.zeros(len(index), 0, dtype=torch.bool)
        count = data.count[index].astype(np.int64)
        # regions are stored padded: carry no more of that than needed
        most = max(1, int(data.count[batch_index].max()))
        return (
            torch.from_numpy(data.regions[index][:, :most].astype(np.float32)),
            torch.from_numpy(np.arange(most) < count[:, None]),
        )

    def pictures(self, index: np.ndarray) -> tuple[Tensor | None, list[Window] | None]:
        """[B, 3, side, side] of rows of the index, augmented by (seed, epoch, row), and where they
        lie in crops.
        """
        pictures, augment = self.data.pictures, self.augment
        if pictures is None or augment is None:
            return None, None
        places = [(pictures[int(row)], [self.seed, self.epoch, int(row), 4]) for row in index]
        if isinstance(augment, Augmenter):
            return torch.stack([augment(*place) for place in places]), None
        crops, windows = zip(*(augment(*place) for place in places), strict=True)
        return torch.stack(crops), list(windows)


class QuietLoader(DataLoader):
    """A DataLoader beside collectives: its processes are forked when the threads of these have
    nothing to do.

    A thread of gloo's that lets go of a tensor of Python's adds itself to the interpreter's list of
    threads; a process that is forked meanwhile finds that list locked for ever (CPython 3.11).
    """

    QUIET = 0.1  # seconds
    PATIENCE = 1800.0  # seconds that a batch may take, before a process is taken for such a one

    def __iter__(self) -> Any:
        if self.num_workers:
            time.sleep(self.QUIET)
        return super().__iter__()


def make_loader(batches: Batches, workers: int) -> DataLoader:
    """The batches, made by so many processes; by this one, without any."""
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
    """Refuse a batch that `world` ranks cannot have equal parts of.

    Raises:
        UserError: in that case.
    """
    if batch % world:
        raise UserError(
            f"pretrain.batch: {batch} cannot be split evenly over the {world} processes of "
            f"runtime.devices x runtime.nodes; use a multiple of {world}"
        )
