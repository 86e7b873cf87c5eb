"""Reading of files; a damaged, empty or foreign file gives a one-line error that says what
to do.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
from collections.abc import Collection, Iterator, Sequence
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
    """Convert errors from reading a missing, truncated or invalid file to one line that names it.

    Args:
        path: the file.
        todo: what the user can do about it.

    Raises:
        UserError: instead of the errors of the readers of JSON, parquet, npy and safetensors.
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
    """Read a JSON object.

    Raises:
        UserError: for a file that is missing, or is not a JSON object.
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
    """Read a parquet file and check its columns and their types.

    Args:
        path: the file.
        schema: required columns and types; others are not read.
        columns: read only these columns of the schema, or of the file.
        todo: what the user can do about a damaged file.

    Raises:
        UserError: naming the file, and the column that is missing or has a wrong type.
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
    path: Path | str,
    columns: Sequence[str],
    size: int,
    *,
    schema: pa.Schema,
    fields: Collection[str] = (),
) -> Iterator[pa.RecordBatch]:
    """The rows of a parquet file, at most `size` at a time; columns and errors as in
    `read_table`.

    Args:
        path: the file.
        columns: columns of the schema.
        size: number of rows.
        schema: required columns and types.
        fields: of columns that are lists of structs, read only these fields; empty reads all.
    """
    with explain_read_errors(path):
        file = pq.ParquetFile(path, page_checksum_verification=True)
    with file:
        check_columns(file.schema_arrow, path, columns, schema)
        batches = file.iter_batches(size, columns=list_leaves(file, columns, fields))
        while True:
            with explain_read_errors(path):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch


def list_leaves(file: pq.ParquetFile, columns: Sequence[str], fields: Collection[str]) -> list[str]:
    """List the paths of parquet's leaves of some columns, of nested ones only those of `fields`."""
    paths = (file.schema.column(i).path for i in range(len(file.schema)))
    return [
        path
        for path in paths
        if (parts := path.split("."))[0] in columns
        and (len(parts) == 1 or not fields or parts[-1] in fields)
    ]


def check_columns(
    stored: pa.Schema,
    path: Path | str,
    names: Sequence[str],
    schema: pa.Schema | None,
    todo: str = AGAIN,
) -> None:
    """Raise UserError for a column that is missing, or has a type other than in `schema`."""
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
    """Memory-map an `.npy` file.

    Args:
        path: the file.
        rows: required number of rows.
        todo: what the user can do about a damaged file.

    Raises:
        UserError: if it is damaged, its size does not match its header, or it has a wrong number of
            rows.
    """
    with explain_read_errors(path, todo):
        # np.load would also accept archives and pickles
        array = np.lib.format.open_memmap(path, mode="r")
        if array.size and array.offset + array.nbytes != os.path.getsize(path):
            raise ValueError("it is longer than its header says")
        if rows is not None and (array.ndim == 0 or len(array) != rows):
            raise ValueError(f"expected {rows} rows, found {array.shape[0] if array.ndim else 0}")
    return array
