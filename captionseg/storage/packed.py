"""Arrays whose rows are compressed one by one, so that any of them can be read alone.

A file NAME.arrow is an Arrow file with one column of bytes: each row of the array by zstd. It is
memory-mapped, and only rows that are asked for are decompressed. For arrays that are mostly zeros
or repeat themselves, and are read a few rows at a time.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Integer, Shaped
from numpy.typing import DTypeLike

from captionseg.records import UserError, one_line
from captionseg.storage.reading import AGAIN, explain_read_errors
from captionseg.storage.writing import atomic_path

SUFFIX = ".arrow"
CODEC = pa.Codec("zstd", 5)


class PackedArray:
    """The rows of a packed file; only requested rows are read.

    Args:
        path: the file.
        rows: required number of rows.

    Raises:
        UserError: if it is missing or damaged, or has a wrong number of rows.
    """

    def __init__(self, path: Path | str, rows: int | None = None) -> None:
        self.path = Path(path)
        with explain_read_errors(path):
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            self.rows = table.column("row")
            described = json.loads((table.schema.metadata or {})[b"array"])
            self.item, self.dtype = tuple(described["item"]), np.dtype(described["dtype"])
            if rows is not None and len(self) != rows:
                raise ValueError(f"expected {rows} rows, found {len(self)}")
        self.bytes = math.prod(self.item) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole array."""
        return (len(self), *self.item)

    def __getitem__(self, rows: Integer[np.ndarray, " row"]) -> Shaped[np.ndarray, " row *item"]:
        """Return rows in the requested order.

        Raises:
            UserError: if one is damaged.
        """
        out = np.empty((len(rows), *self.item), self.dtype)
        for place, row in enumerate(self.rows.take(pa.array(rows, pa.int64()))):
            try:
                data = CODEC.decompress(row.as_buffer(), self.bytes)
            except (OSError, pa.ArrowException) as error:
                raise UserError(
                    f"{self.path}: row {rows[place]} cannot be read ({one_line(error)}); {AGAIN}"
                ) from None
            out[place] = np.frombuffer(data, self.dtype).reshape(self.item)
        return out


@contextlib.contextmanager
def open_packed(
    path: Path | str, shape: tuple[int, ...], dtype: DTypeLike
) -> Iterator[Callable[[np.ndarray], None]]:
    """Yield a function that appends rows to a new packed file, which appears when the block ends.

    Args:
        path: the file.
        shape: of the array; the rows that are appended must add up to it.
        dtype: of the array, to which rows are converted.
    """
    kind, count = np.dtype(dtype), 0
    described = json.dumps({"item": shape[1:], "dtype": kind.str})
    schema = pa.schema([("row", pa.binary())], metadata={"array": described})

    def append(rows: np.ndarray) -> None:
        nonlocal count
        if rows.shape[1:] != shape[1:]:  # no assertion: python -O has none
            raise RuntimeError(f"{path}: rows {rows.shape[1:]}, expected {shape[1:]}")
        packed = [
            CODEC.compress(np.ascontiguousarray(row, kind).data, asbytes=True) for row in rows
        ]
        writer.write_batch(pa.record_batch([pa.array(packed, pa.binary())], schema=schema))
        count += len(rows)

    with (
        atomic_path(path) as part,
        part.open("w+b") as stream,
        pa.ipc.new_file(stream, schema) as writer,
    ):
        yield append
        if count != shape[0]:
            raise RuntimeError(f"{path}: {count} rows were written, expected {shape[0]}")


def write_packed(array: np.ndarray, path: Path | str) -> None:
    """Write a packed file atomically."""
    with open_packed(path, array.shape, array.dtype) as append:
        append(array)
