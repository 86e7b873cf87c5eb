"""Large arrays and columns of texts that stay on disk and are read by row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float32, Int64, Integer, Shaped
from numpy.typing import DTypeLike

from captionseg.storage.folders import map_arrays, map_packed
from captionseg.storage.packed import PackedArray


class ShardedArray:
    """The rows of several files as one array; only requested rows are read.

    Args:
        parts: memory-mapped, in row order.
    """

    def __init__(self, parts: Sequence[Shaped[np.ndarray, " _ *item"] | PackedArray]) -> None:
        self.parts = list(parts)
        self.starts = np.cumsum([0, *map(len, self.parts)])

    @staticmethod
    def of_folder(
        folder: Path, rows: Mapping[str, int] | None = None, *, packed: bool = False
    ) -> ShardedArray:
        """Map all `.npy` files of a folder in name order, or all packed ones; see
        `storage.map_arrays`.
        """
        return ShardedArray(map_packed(folder, rows) if packed else map_arrays(folder, rows))

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


class Rows:
    """Rows of a matrix that need not fit into memory: only those that are asked for are read.

    Args:
        matrix: [M, D] floats, in memory, memory-mapped or in shards.
        rows: which rows of it, in which order; None for all.
        change: a function of rows that is applied to what is read.
    """

    BLOCK = 1024
    """Rows in a block."""

    def __init__(
        self,
        matrix: ShardedArray | Shaped[np.ndarray, "row dim"],
        rows: Integer[np.ndarray, " chosen"] | None = None,
        change: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        self.matrix, self.change = matrix, change
        self.rows = np.arange(len(matrix)) if rows is None else rows

    @staticmethod
    def of(matrix: Rows | Shaped[np.ndarray, "row dim"]) -> Rows:
        """All rows of a matrix."""
        return matrix if isinstance(matrix, Rows) else Rows(matrix)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def width(self) -> int:
        """D."""
        return int(self.matrix.shape[1])

    def __getitem__(self, positions: Integer[np.ndarray, " _n"]) -> Float32[np.ndarray, "_n _dim"]:
        """Return rows by their positions in `rows`."""
        found = np.ascontiguousarray(self.matrix[self.rows[positions]], np.float32)
        return self.change(found) if self.change else found

    def select(self, positions: Integer[np.ndarray, " _n"]) -> Rows:
        """Return some of the rows, unread."""
        return Rows(self.matrix, self.rows[positions], self.change)

    def map(self, change: Callable[[np.ndarray], np.ndarray]) -> Rows:
        """Return the rows after a function of them, unread."""
        return Rows(self.matrix, self.rows, change)

    def blocks(self, size: int = BLOCK) -> Iterator[Float32[np.ndarray, "_n _dim"]]:
        """Yield all rows in order, at most `size` at a time."""
        for start in range(0, len(self), size):
            yield self[np.arange(start, min(start + size, len(self)))]


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
