"""Large arrays and columns of texts on disk, read by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
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

    @property
    def dtype(self) -> np.dtype:
        """Type of the whole array."""
        return self.parts[0].dtype

    def __getitem__(self, rows: Integer[np.ndarray, " row"]) -> Shaped[np.ndarray, " row *item"]:
        """Return rows in the requested order."""
        rows = np.asarray(rows)
        out = np.empty((len(rows), *self.parts[0].shape[1:]), self.parts[0].dtype)
        part = np.searchsorted(self.starts, rows, side="right") - 1
        for number in np.unique(part):
            here = part == number
            out[here] = self.parts[number][rows[here] - self.starts[number]]
        return out


@dataclass(frozen=True)
class SelectedRows:
    """Some rows of an array, read when they are asked for.

    Attributes:
        array: the whole array.
        rows: [N], which of its rows these are.
        dtype: type to convert values to.
        numbers: if given, values of the array are places in it, and are replaced by what stands
            there; its last entry is for -1.
    """

    array: Any
    rows: np.ndarray
    dtype: np.dtype
    numbers: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the selection."""
        return (len(self.rows), *self.array.shape[1:])

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Return rows in the requested order."""
        values = self.array[self.rows[rows]]
        if self.numbers is not None:
            values = self.numbers[values]
        return values.astype(self.dtype, copy=False)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)


@dataclass(frozen=True)
class Texts:
    """A column of Arrow texts that is read as numpy arrays of strings, some rows at a time.

    Attributes:
        column: [N] texts.
    """

    column: pa.StringArray

    dtype = np.dtype(object)

    def __len__(self) -> int:
        return len(self.column)

    @property
    def shape(self) -> tuple[int]:
        """Shape of the column."""
        return (len(self.column),)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Return rows in the requested order."""
        part = self.column[rows] if isinstance(rows, slice) else self.column.take(pa.array(rows))
        return part.to_numpy(zero_copy_only=False)

    def __iter__(self) -> Iterator[str]:
        return (text.as_py() for text in self.column)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:]

    def __arrow_array__(self, type: pa.DataType | None = None) -> pa.Array:
        return self.column
