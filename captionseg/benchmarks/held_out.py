"""The benchmark of the run's own data: a split with exact masks, from features that are there already."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
import torch

from captionseg.arrays import ShardedArray
from captionseg.benchmarks.benchmark import Folders, Sample
from captionseg.datasets.shards import decode_mask, read_classes, read_truth
from captionseg.records import Inputs, UserError


@dataclass(frozen=True)
class HeldOut:
    """All pictures of a split whose truth is known.

    Attributes:
        uid: [n]; rows: [n] rows of the index; folders: where their features are.
        masks: uid -> PNG bytes.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    uid: list[str]
    rows: np.ndarray
    folders: Folders
    masks: dict[str, bytes]
    ignore: int = 255

    @staticmethod
    def load(folders: Folders, split: str) -> HeldOut:
        """The benchmark of a split.

        Raises:
            UserError: if no picture of the split has a known truth.
        """
        ids = pq.read_table(folders.index / "ids.parquet", columns=["uid", "split"])
        known = read_truth(folders.truth)
        masks = dict(zip(known["uid"].to_pylist(), known["mask"].to_pylist(), strict=True))
        uid, splits = ids["uid"].to_pylist(), ids["split"].to_pylist()
        rows = [i for i, u in enumerate(uid) if splits[i] == split and u in masks]
        if not rows:
            raise UserError(f"{folders.truth}: no known masks for split {split!r}; nothing to evaluate on")
        classes = read_classes(folders.truth)
        return HeldOut(classes.names, classes.kinds, [uid[i] for i in rows], np.array(rows), folders,
                       {uid[i]: masks[uid[i]] for i in rows})

    def __len__(self) -> int:
        return len(self.uid)

    def samples(self) -> Iterator[Sample]:
        """See Benchmark."""
        pooled, labels, count = (ShardedArray.of_folder(self.folders.regions / name)
                                 for name in ("pooled", "labels", "count"))
        for uid, row in zip(self.uid, self.rows, strict=True):
            truth = decode_mask(self.masks[uid])
            row = np.array([row])
            n = int(count[row][0])
            inputs = Inputs(torch.from_numpy(pooled[row][:, :n].astype(np.float32)),
                            torch.ones(1, n, dtype=torch.bool), torch.from_numpy(labels[row]),
                            (truth.shape[0], truth.shape[1]))
            yield Sample(uid, inputs, truth)
