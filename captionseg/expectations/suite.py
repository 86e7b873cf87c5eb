"""A suite: a data frame with expectations of its columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from captionseg.expectations.quiet import expect
from captionseg.storage.folders import list_files
from captionseg.storage.reading import explain_read_errors


@dataclass(frozen=True)
class Suite:
    """A table, or a view of it, with its expectations.

    Attributes:
        name: unique heading in the docs and the report.
        frames: yields the rows from the first on, a part at a time; lists must be counted or
            flattened, because expectations need scalars.
        expectations: expectations of Great Expectations, in the order of the report.
        key: the column that identifies a failing row.
        together: a column whose equal values are all in one part.
    """

    name: str
    frames: Callable[[], Iterator[pd.DataFrame]]
    expectations: Sequence[Any]
    key: str = "uid"
    together: str | None = None

    @staticmethod
    def of(name: str, frame: pd.DataFrame, expectations: Sequence[Any], key: str = "uid") -> Suite:
        """Build a suite of a table in one part."""
        return Suite(name, lambda: iter([frame.copy(deep=False)]), expectations, key)

    def parts(self) -> Iterator[pd.DataFrame]:
        """Yield the parts that have rows; if none has any, the first."""
        rows, first = 0, None
        for frame in self.frames():
            rows += len(frame)
            if len(frame):
                yield frame
            elif first is None:
                first = frame
        if not rows and first is not None:
            yield first

    def read(self) -> pd.DataFrame:
        """Return all rows at once."""
        return pd.concat(self.parts(), ignore_index=True)


def build_schemas(tables: dict[str, tuple[Path, pa.Schema]]) -> Suite:
    """Build a row per column of each table: its type in records.py, and its type in the files.

    Args:
        tables: name -> folder of parquet files and their schema.

    Raises:
        UserError: if a folder has no parquet file.
    """
    rows = []
    for name, (folder, schema) in tables.items():
        schemas = []
        for file in list_files(folder, ".parquet"):
            with explain_read_errors(file):
                schemas.append(pq.read_schema(file))
        rows += list_columns(name, schemas, schema)
    return Suite.of(
        "schemas",
        pd.DataFrame(rows, columns=["table", "column", "expected", "found"]),
        [expect.ExpectColumnPairValuesToBeEqual(column_A="found", column_B="expected")],
        key="column",
    )


def list_columns(
    name: str, schemas: Sequence[pa.Schema], schema: pa.Schema
) -> list[tuple[str, str, str, str]]:
    """Return (table, table.column, expected type, found type) for every column of the schema or the
    files; the found type is the first that differs.
    """
    columns = list(dict.fromkeys([*schema.names, *(n for s in schemas for n in s.names)]))
    rows = []
    for column in columns:
        want = describe_type(schema, column)
        types = [describe_type(s, column) for s in schemas]
        rows.append((name, f"{name}.{column}", want, next((t for t in types if t != want), want)))
    return rows


def describe_type(schema: pa.Schema, column: str) -> str:
    """Return a column's type as text, or "absent"."""
    if column not in schema.names:
        return "absent"
    # "element" and "item" are different writers' names for the elements of a list
    return str(schema.field(column).type).replace("<element: ", "<item: ")


def explode(table: pa.Table, column: str, *, keep: Sequence[str]) -> pd.DataFrame:
    """Build a row per struct in a list column, with columns `keep` of its row."""
    lists = table[column].combine_chunks()
    structs, parent = lists.flatten(), lists.value_parent_indices()
    columns = {name: table[name].take(parent) for name in keep}
    for i, field in enumerate(structs.type):
        columns[field.name] = structs.flatten()[i]
    return pa.table(columns).to_pandas()


def expect_not_null(*columns: str) -> list[Any]:
    """Return an expectation per column: neither null nor NaN."""
    return [expect.ExpectColumnValuesToNotBeNull(column=column) for column in columns]


def expect_true(*columns: str) -> list[Any]:
    """Return an expectation per boolean column: True in every row."""
    return [
        expect.ExpectColumnValuesToBeInSet(column=column, value_set=[True]) for column in columns
    ]
