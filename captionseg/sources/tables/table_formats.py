"""Table files of every format: CSV, TSV, TXT, JSON, JSON lines and parquet, each also as .gz.

A file is read row by row; it is never in memory as a whole.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from captionseg.records import UserError
from captionseg.sources.tables.delimited import LONGEST_LINE, SAMPLE, Cells, TextTable
from captionseg.storage.json_items import JsonItems
from captionseg.storage.remote import explain_errors, hide_secrets, open_plain

SUFFIXES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet")
BATCH = 4096  # rows of a parquet file that are read together


class TableFile(Protocol):
    """A table that was opened far enough to know its columns."""

    @property
    def columns(self) -> Sequence[str]:
        """Their names."""
        ...

    def read_rows(self, picture: str, caption: str) -> Iterator[Cells]:
        """The cells of two columns, row by row; those of a column named "" are None."""
        ...


def open_table(url: str, header_names: Collection[str]) -> TableFile:
    """Open a table in the format that the suffix of its name says.

    Args:
        url: see `remote.open_file`.
        header_names: names of columns, in small letters, by which a line is known to be a header.

    Raises:
        UserError: for another suffix, and where it cannot be read.
    """
    name = url.lower().removesuffix(".gz")
    if name.endswith(".parquet"):
        return ParquetTable(url)
    if name.endswith((".jsonl", ".ndjson")):
        return JsonLines(url)
    if name.endswith(".json"):
        return JsonTable(url)
    if name.endswith((".csv", ".tsv", ".txt")):
        return TextTable(url, header_names)
    raise UserError(
        f"{hide_secrets(url)}: no table; give one that ends in {', '.join(SUFFIXES)}, or .gz "
        "behind these"
    )


class RecordTable(ABC):
    """A table whose rows are records, column name -> value.

    Attributes:
        url: of the file.
        columns: their names.
    """

    url: str
    columns: list[str]

    @abstractmethod
    def read_records(self, names: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
        """Yield each row's number, from 1, and its record, or why it has none.

        Args:
            names: columns that are needed; a record may have others too.
        """

    def read_rows(self, picture: str, caption: str) -> Iterator[Cells]:
        """See TableFile."""
        names = [name for name in dict.fromkeys((picture, caption)) if name]
        for number, record in self.read_records(names):
            if isinstance(record, str):
                yield Cells(number, fault=record)
            else:
                yield Cells(number, record.get(picture), record.get(caption))


class JsonLines(RecordTable):
    """One JSON object per line.

    Args:
        url: of the file.

    Raises:
        UserError: if none of the first lines holds an object.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        with open_plain(url) as stream:
            objects = [item for _, item in itertools.islice(read_objects(stream), SAMPLE)]
        if objects and all(item is None for item in objects):
            raise UserError(
                f"{hide_secrets(url)}: its lines are no JSON objects; write one in each line, "
                "without commas or brackets around them"
            )
        self.columns = list(dict.fromkeys(name for item in objects for name in item or ()))

    def read_records(self, names: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
        """See RecordTable."""
        with open_plain(self.url) as stream:
            for number, item in read_objects(stream):
                yield number, "the line is no JSON object" if item is None else item


def read_objects(stream: BinaryIO) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Yield the number and the object of each line of a file; None for a line that holds none.
    Empty lines are no rows.
    """
    for number, line in enumerate(iter(lambda: stream.readline(LONGEST_LINE), b""), 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape"))
        except (ValueError, RecursionError):
            item = None
        yield number, item if isinstance(item, dict) else None


class JsonTable(RecordTable):
    """A list of objects, an object with one such list in it, or picture -> caption or captions.

    Args:
        url: of the file.

    Raises:
        UserError: for any other JSON.
    """

    def __init__(self, url: str) -> None:
        self.url, self.key, self.mapping = url, "", False
        with open_plain(url) as stream, explain_errors(url):
            items = list(itertools.islice(JsonItems(stream), SAMPLE))
        objects = [(key, item) for key, item in items if isinstance(item, dict)]
        if objects:
            self.key = objects[0][0]
            self.columns = list(dict.fromkeys(name for _, item in objects for name in item))
        elif items and all(key for key, _ in items):
            self.mapping, self.columns = True, ["file_name", "captions"]
        else:
            raise UserError(f"{hide_secrets(url)}: holds no list of objects")

    def read_records(self, names: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
        """See RecordTable.

        Raises:
            UserError: for two lists of objects.
        """
        with open_plain(self.url) as stream, explain_errors(self.url):
            for number, (key, item) in enumerate(JsonItems(stream), 1):
                if self.mapping:
                    yield number, dict(zip(self.columns, (key, item), strict=True))
                elif key == self.key:
                    yield number, item if isinstance(item, dict) else "is no JSON object"
                elif isinstance(item, dict):
                    raise UserError(
                        f"{hide_secrets(self.url)}: has lists of objects at {self.key!r} and "
                        f"{key!r}; annotations of COCO are read by source coco_captions"
                    )


class ParquetTable(RecordTable):
    """A parquet file.

    Args:
        url: of the file.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        with open_parquet(url) as file:
            self.columns = file.schema_arrow.names

    def read_records(self, names: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
        """See RecordTable."""
        with open_parquet(self.url) as file:
            yield from enumerate(iterate_parquet(file, {name: name for name in names}), 1)


@contextlib.contextmanager
def open_parquet(url: str) -> Iterator[pq.ParquetFile]:
    """Open a parquet file; one that is compressed by gzip is unpacked to a temporary file.

    Raises:
        UserError: if it cannot be read.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(explain_errors(url))
        stream = stack.enter_context(open_plain(url))
        if url.lower().endswith(".gz"):
            packed, stream = stream, stack.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(packed, stream)
        yield stack.enter_context(pq.ParquetFile(stream))


def iterate_parquet(file: pq.ParquetFile, columns: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a parquet file; BATCH of them are in memory at a time.

    Args:
        file: opened by `open_parquet`.
        columns: key in the rows -> name of its column; at least one.
    """
    for batch in file.iter_batches(BATCH, columns=list(columns.values())):
        values = [list_values(batch[column]) for column in columns.values()]
        for row in zip(*values, strict=True):
            yield dict(zip(columns, row, strict=True))


def list_values(column: pa.Array) -> list[Any]:
    """The values of a column as Python objects; a text that is not valid UTF-8 becomes bytes."""
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        return [_read_value(value) for value in column]


def _read_value(value: pa.Scalar) -> Any:
    try:
        return value.as_py()
    except UnicodeDecodeError:
        raw = value.as_buffer() if hasattr(value, "as_buffer") else None
        return raw.to_pybytes() if raw is not None else b"\xff"
