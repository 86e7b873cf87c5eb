"""Large arrays that lie in one file a shard, read by row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from captionseg.records import UserError


class ShardedArray:
    """The rows of several `.npy` files as one array; only rows that are asked for are read.

    Args:
        files: in row order.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.parts = [np.load(file, mmap_mode="r", allow_pickle=False) for file in files]
        self.starts = np.cumsum([0, *map(len, self.parts)])

    @staticmethod
    def of_folder(folder: Path) -> ShardedArray:
        """All `.npy` files of a folder in name order."""
        files = sorted(folder.glob("*.npy"))
        if not files:
            raise UserError(f"no npy files in {folder}: run the stage that writes it first (`dvc repro`)")
        return ShardedArray(files)

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole."""
        return (len(self), *self.parts[0].shape[1:])

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """[n, ...] rows, in the order asked for."""
        rows = np.asarray(rows)
        out = np.empty((len(rows), *self.parts[0].shape[1:]), self.parts[0].dtype)
        part = np.searchsorted(self.starts, rows, side="right") - 1
        for number in np.unique(part):
            here = part == number
            out[here] = self.parts[number][rows[here] - self.starts[number]]
        return out
