"""Supervision and features -> batches. The only place where a Batch is made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from torch.utils.data import IterableDataset

from captionseg.arrays import ShardedArray
from captionseg.curation.measure import arrays
from captionseg.curation.sampling import draw
from captionseg.records import Batch, Supervision, UserError
from captionseg.storage import read_arrays, read_tables
from captionseg.training.masked import Encode, Masking, masked_embeddings


@dataclass(frozen=True)
class TrainingSet:
    """The kept training pairs of one recipe; N of them, M concepts an archive, C concepts in all.

    Attributes:
        rows: [N] rows of the index.
        regions: [index rows, S, F] and count [index rows]: pooled features of regions.
        caption_embedding: [index rows, D] fp16.
        concept_embedding: [C, D].
        texts, weight, cluster: [N, M] concepts that may be drawn (-1 pads), their weights and clusters.
        archive: [N, M'] concepts that are no negatives of the image.
        named: [N, K] concepts that the caption names.
        masked: [N, D] embeddings of the masked captions, or None where the model asks for none.
    """

    rows: np.ndarray
    regions: ShardedArray
    count: np.ndarray
    caption_embedding: np.ndarray
    concept_embedding: np.ndarray
    texts: np.ndarray
    weight: np.ndarray
    cluster: np.ndarray
    archive: np.ndarray
    named: np.ndarray
    masked: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)


def load(index: Path, regions: Path, supervision: Path, *, curation: str, archive: str,
         masking: Masking | None = None, encode: Encode | None = None) -> TrainingSet:  # fmt: skip
    """What a recipe trains on.

    Args:
        index: folder of the index stage.
        regions: folder of the regions stage.
        supervision: folder of the curate stage.
        curation: rule whose concepts are drawn.
        archive: rule whose archive masks negatives.
        masking: which words of captions are masked, for models that complete masked captions.
        encode: texts -> embeddings, for those alone.

    Raises:
        UserError: if a rule has not been run, or kept nothing.
    """
    concepts = pq.read_table(supervision / "vocabulary" / "concepts.parquet")["text"].to_pylist()
    number = {text: i for i, text in enumerate(concepts)}
    drawn = read_supervision(supervision, curation)
    masks = read_supervision(supervision, archive)
    nouns = read_supervision(supervision, "nouns")
    kept = np.flatnonzero(drawn.kept)
    if not len(kept):
        raise UserError(f"{supervision / curation}: every row was dropped; loosen curate.{curation}")
    ids = pq.read_table(index / "ids.parquet")
    row_of = {uid: row for row, uid in enumerate(ids["uid"].to_pylist())}
    weight, cluster = arrays(drawn)
    named = numbers(nouns, number)
    masked = None
    if masking and encode:
        masked = masked_embeddings(index, supervision / "vocabulary", drawn, nouns, masking, encode)[kept]
    return TrainingSet(
        np.array([row_of[uid] for uid in drawn.uid[kept]]),
        ShardedArray.of_folder(regions / "pooled"), read_arrays(regions / "count"),
        read_arrays(index / "text_emb"), np.load(supervision / "vocabulary" / "embedding.npy"),
        numbers(drawn, number)[kept], weight[kept], cluster[kept],
        np.concatenate([numbers(masks, number), named], 1)[kept], named[kept], masked,
    )


def read_supervision(folder: Path, rule: str) -> Supervision:
    """All shards of one rule."""
    if not (folder / rule).is_dir():
        raise UserError(f"{folder / rule}: rule {rule!r} was not run; add it to curate.rules")
    return Supervision.from_table(read_tables(folder / rule))


def numbers(supervision: Supervision, number: dict[str, int]) -> np.ndarray:
    """[N, M] int64 vocabulary numbers of all archives, -1 pads."""
    width = max((len(row) for row in supervision.concepts), default=0) or 1
    out = np.full((len(supervision), width), -1, np.int64)
    for i, row in enumerate(supervision.concepts):
        out[i, : len(row)] = [number[c.text] for c in row]
    return out


class Batches(IterableDataset):
    """One epoch of batches; concepts are drawn anew in each, from (seed, epoch, rank) alone.

    Args:
        data: what to train on.
        batch: images of a batch on this rank; the last, smaller batch of an epoch is left out unless it is the only.
        texts: L.
        seed: of order and draws.
        rank, world: this rank sees every world-th image of the epoch's order.
    """

    def __init__(self, data: TrainingSet, *, batch: int, texts: int, seed: int, rank: int = 0, world: int = 1) -> None:
        self.data, self.texts, self.seed, self.rank, self.world = data, texts, seed, rank, world
        self.batch = min(batch, max(1, len(data) // world))
        self.epoch = 0

    def __len__(self) -> int:
        return max(1, len(self.data) // self.world // self.batch)

    def __iter__(self) -> Iterator[Batch]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.data))[self.rank :: self.world]
        rng = np.random.default_rng([self.seed, self.epoch, self.rank, 1])
        for step in range(len(self)):
            yield self.make(order[step * self.batch : (step + 1) * self.batch], rng)

    def make(self, rows: np.ndarray, rng: np.random.Generator) -> Batch:
        """The batch of some rows of the training set."""
        data, index = self.data, self.data.rows[rows]
        columns = draw(data.weight[rows], data.cluster[rows], self.texts, rng)
        text = np.where(columns >= 0, np.take_along_axis(data.texts[rows], np.maximum(columns, 0), 1), -1)
        count = data.count[index].astype(np.int64)
        # Regions are stored padded. Carry no more of that than this batch needs, unless ranks have to agree about it.
        most = max(1, int(count.max())) if self.world == 1 else data.regions.shape[1]
        return Batch(
            torch.from_numpy(data.regions[index][:, :most].astype(np.float32)),
            torch.from_numpy(np.arange(most) < count[:, None]),
            torch.from_numpy(data.caption_embedding[index].astype(np.float32)),
            torch.from_numpy(data.named[rows]),
            torch.from_numpy(data.concept_embedding[np.maximum(text, 0)]),
            torch.from_numpy(text), torch.from_numpy(data.archive[rows]),
            masked_embedding=None if data.masked is None else torch.from_numpy(data.masked[rows]),
        )
