"""What is checked together: a data frame and the expectations of its columns."""

from __future__ import annotations

from collections.abc import Sequence
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
    """One table, or one view of it, with what is expected of it.

    Attributes:
        name: heading in the docs and the report; unique.
        frame: the rows. List columns are counted or flattened beforehand: expectations see scalars.
        expectations: Great Expectations' own, in the order of the report.
        key: the column that names a row that fails.
    """

    name: str
    frame: pd.DataFrame
    expectations: Sequence[Any]
    key: str = "uid"


def build_schemas(tables: dict[str, tuple[Path, pa.Schema]]) -> Suite:
    """A row for each column of each table: the type that records.py says, and the one in the files.

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
    return Suite(
        "schemas",
        pd.DataFrame(rows, columns=["table", "column", "expected", "found"]),
        [expect.ExpectColumnPairValuesToBeEqual(column_A="found", column_B="expected")],
        key="column",
    )


def list_columns(
    name: str, schemas: Sequence[pa.Schema], schema: pa.Schema
) -> list[tuple[str, str, str, str]]:
    """(table, table.column, expected type, found type) of every column of either; of files the
    first that differs.
    """
    columns = list(dict.fromkeys([*schema.names, *(n for s in schemas for n in s.names)]))
    rows = []
    for column in columns:
        want = describe_type(schema, column)
        types = [describe_type(s, column) for s in schemas]
        rows.append((name, f"{name}.{column}", want, next((t for t in types if t != want), want)))
    return rows


def describe_type(schema: pa.Schema, column: str) -> str:
    """A column's type in words, or "absent"."""
    if column not in schema.names:
        return "absent"
    # "element" and "item" are two writers' names for the same thing, the inside of a list
    return str(schema.field(column).type).replace("<element: ", "<item: ")


def explode(table: pa.Table, column: str, *, keep: Sequence[str]) -> pd.DataFrame:
    """A row for each struct in a list column, with columns `keep` of the row that it stands in."""
    lists = table[column].combine_chunks()
    structs, parent = lists.flatten(), lists.value_parent_indices()
    columns = {name: table[name].take(parent) for name in keep}
    for i, field in enumerate(structs.type):
        columns[field.name] = structs.flatten()[i]
    return pa.table(columns).to_pandas()


def expect_not_null(*columns: str) -> list[Any]:
    """An expectation for each column: neither null nor NaN."""
    return [expect.ExpectColumnValuesToNotBeNull(column=column) for column in columns]


def expect_true(*columns: str) -> list[Any]:
    """An expectation for each boolean column: True in every row."""
    return [
        expect.ExpectColumnValuesToBeInSet(column=column, value_set=[True]) for column in columns
    ]
