"""A file that is read: a torn, empty or foreign one is one line that says what to do."""

from __future__ import annotations

import contextlib
import csv
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError

from captionseg.records import UserError, one_line

AGAIN = "delete it and run `dvc repro` to write it again"


@contextlib.contextmanager
def explain_read_errors(path: Path | str, todo: str = AGAIN) -> Iterator[None]:
    """Around whatever reads a file: that it is missing, cut off or no such file is one line that
    names it.

    Args:
        path: of the file.
        todo: what the user can do about it.

    Raises:
        UserError: in place of what the readers of JSON, parquet, npy and safetensors raise.
    """
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path}: no such file; {todo.removeprefix('delete it and ')}") from None
    except (
        OSError,
        EOFError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
        MemoryError,
        csv.Error,
        pa.ArrowException,
        SafetensorError,
    ) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UserError(
            f"{path}: cannot be read ({one_line(reason) or type(error).__name__}); {todo}"
        ) from None


def read_json(path: Path | str, *, todo: str = AGAIN) -> dict[str, Any]:
    """The object of a JSON file.

    Raises:
        UserError: for a file that is missing, no JSON, or JSON of another kind.
    """
    with explain_read_errors(path, todo):
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise TypeError(f"expected an object, found {one_line(repr(content), 60)}")
    return content


def read_table(
    path: Path | str,
    *,
    schema: pa.Schema | None = None,
    columns: Sequence[str] | None = None,
    todo: str = AGAIN,
) -> pa.Table:
    """A parquet file. Nothing is made up: a column that is asked for is there, with the type it
    should have.

    Args:
        path: of the file.
        schema: names and types of the columns that must be there; others are not read.
        columns: only these of them, or of the file.
        todo: what the user can do about a file that is damaged.

    Raises:
        UserError: naming the file, and the column that is missing or of another type.
    """
    with (
        explain_read_errors(path, todo),
        pq.ParquetFile(path, page_checksum_verification=True) as file,
    ):
        stored = file.schema_arrow
        names = list(
            columns if columns is not None else (stored if schema is None else schema).names
        )
        check_columns(stored, path, names, schema, todo)
        return file.read(columns=names).select(names)


def read_batches(
    path: Path | str, columns: Sequence[str], size: int, *, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """The rows of a parquet file, at most `size` at a time; columns and errors as in
    `read_table`.
    """
    with explain_read_errors(path):
        file = pq.ParquetFile(path, page_checksum_verification=True)
    with file:
        check_columns(file.schema_arrow, path, columns, schema)
        batches = file.iter_batches(size, columns=list(columns))
        while True:
            with explain_read_errors(path):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch


def check_columns(
    stored: pa.Schema,
    path: Path | str,
    names: Sequence[str],
    schema: pa.Schema | None,
    todo: str = AGAIN,
) -> None:
    """Raises UserError for a column that is missing, or of another type than in `schema`."""
    if missing := [name for name in names if name not in stored.names]:
        raise UserError(f"{path}: it has no column {', '.join(missing)}; {todo}")
    for name in names if schema is not None else ():
        assert schema is not None
        if not stored.field(name).type.equals(schema.field(name).type):
            raise UserError(
                f"{path}: column {name} is {stored.field(name).type}, expected "
                f"{schema.field(name).type}; {todo}"
            )


def read_array(path: Path | str, *, rows: int | None = None, todo: str = AGAIN) -> np.ndarray:
    """An `.npy` file, memory-mapped.

    Args:
        path: of the file.
        rows: that it must have.
        todo: what the user can do about a file that is damaged.

    Raises:
        UserError: if it is damaged, longer or shorter than it says, or of other rows.
    """
    with explain_read_errors(path, todo):
        # np.load would look for archives and pickles, too
        array = np.lib.format.open_memmap(path, mode="r")
        if array.size and array.offset + array.nbytes != os.path.getsize(path):
            raise ValueError("it is longer than its header says")
        if rows is not None and (array.ndim == 0 or len(array) != rows):
            raise ValueError(f"expected {rows} rows, found {array.shape[0] if array.ndim else 0}")
    return array
