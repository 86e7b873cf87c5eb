"""Large arrays that stay on disk and are read by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64, Integer, Shaped
from numpy.typing import DTypeLike

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


class RaggedArray:
    """Rows of different lengths, end to end in a memory-mapped array; read as rows of one width.

    Args:
        start: row i is `values[start[i]:start[i + 1]]`.
        values: of all rows.
        width: number of values of a row that is read, at least that of the longest.
        pad: fills rows that are shorter.
    """

    def __init__(
        self,
        start: Int64[np.ndarray, " starts"],
        values: Shaped[np.ndarray, " all"],
        width: int,
        pad: float,
    ) -> None:
        # indexing a memmap makes a memmap, which costs more than the indexing
        self.start, self.values = np.asarray(start), np.asarray(values)
        self.width, self.pad = width, pad

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the array with all rows padded."""
        return len(self), self.width

    def __getitem__(
        self, rows: Integer[np.ndarray, " row"] | int | np.integer | slice
    ) -> Shaped[np.ndarray, "*row width"]:
        """Return rows in the requested order, padded."""
        rows = np.arange(len(self))[rows] if isinstance(rows, slice) else np.asarray(rows)
        first, end = self.start[rows, None], self.start[rows + 1, None]
        place = first + np.arange(self.width)
        inside = place < end
        padded = np.full(inside.shape, self.pad, self.values.dtype)
        padded[inside] = self.values[place[inside]]
        return padded

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)
