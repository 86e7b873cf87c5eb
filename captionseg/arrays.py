"""Large arrays stored in one file per shard, read by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Integer, Shaped

from captionseg.storage.folders import map_arrays


class ShardedArray:
    """The rows of several `.npy` files as one array; only requested rows are read.

    Args:
        parts: memory-mapped, in row order.
    """

    def __init__(self, parts: Sequence[Shaped[np.ndarray, " _ *item"]]) -> None:
        self.parts = list(parts)
        self.starts = np.cumsum([0, *map(len, self.parts)])

    @staticmethod
    def of_folder(folder: Path, rows: Mapping[str, int] | None = None) -> ShardedArray:
        """Map all `.npy` files of a folder in name order; see `storage.map_arrays`."""
        return ShardedArray(map_arrays(folder, rows))

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole array."""
        return (len(self), *self.parts[0].shape[1:])

    def __getitem__(self, rows: Integer[np.ndarray, " row"]) -> Shaped[np.ndarray, " row *item"]:
        """Return rows in the requested order."""
        rows = np.asarray(rows)
        out = np.empty((len(rows), *self.parts[0].shape[1:]), self.parts[0].dtype)
        part = np.searchsorted(self.starts, rows, side="right") - 1
        for number in np.unique(part):
            here = part == number
            out[here] = self.parts[number][rows[here] - self.starts[number]]
        return out
