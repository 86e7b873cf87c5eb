"""Supervision on disk: a folder for each rule, a parquet file for each shard (schema SUPERVISION).

The files hold concepts as text; in memory they are numbers of the vocabulary. Whole columns are
read and written, never single rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

from captionseg.records import CONCEPT, SUPERVISION, UserError
from captionseg.storage.folders import read_tables
from captionseg.storage.reading import read_table
from captionseg.storage.writing import write_table
from captionseg.supervision.columns import COLUMNS, Supervision

pc: Any = compute  # its functions are made when it is imported


def write(supervision: Supervision, path: Path) -> None:
    """Write the rows of one shard."""
    write_table(to_table(supervision), path)


def read(path: Path, vocabulary: Sequence[str] | None = None) -> Supervision:
    """Read a shard, or all shards of a folder in name order.

    Args:
        path: the parquet file, or the folder.
        vocabulary: [C] that concepts are numbers of; None takes those of the files, in order of
            appearance.

    Raises:
        UserError: if files are missing or damaged, or name a concept that is not in the vocabulary.
    """
    source = read_table if path.suffix == ".parquet" else read_tables
    return from_table(source(path, schema=SUPERVISION), vocabulary)


def to_table(supervision: Supervision) -> pa.Table:
    """The rows as an Arrow table of schema SUPERVISION."""
    valid = supervision.concept >= 0
    number = pa.array(supervision.concept[valid], pa.int32())
    columns = {name: getattr(supervision, name)[valid] for name in COLUMNS}
    columns["text"] = pa.array(supervision.vocabulary, pa.string()).take(number)
    columns["rule"] = pa.repeat(pa.scalar(supervision.rule, pa.string()), len(number))
    concepts = pa.StructArray.from_arrays(
        [pa.array(columns[field.name], field.type) for field in CONCEPT], fields=list(CONCEPT)
    )
    ends = pa.array(np.concatenate([[0], supervision.count.cumsum()]), pa.int32())
    reason = pa.array(supervision.drop_reason, pa.string())
    return pa.table(
        [
            pa.array(supervision.uid, pa.string()),
            pa.array(supervision.kept, pa.bool_()),
            pc.if_else(pc.equal(reason, ""), pa.scalar(None, pa.string()), reason),
            pa.ListArray.from_arrays(ends, concepts),
        ],
        schema=SUPERVISION,
    )


def from_table(table: pa.Table, vocabulary: Sequence[str] | None = None) -> Supervision:
    """The inverse of `to_table`; arguments and errors as in `read`.

    The rule of a table without any concept is lost.
    """
    uid, column = table["uid"].to_numpy(), table["concepts"]
    count = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    structs = pc.list_flatten(column)
    fields = dict(zip(CONCEPT.names, structs.flatten(), strict=True))
    texts = fields["text"]
    concepts = pc.unique(texts).to_pylist() if vocabulary is None else vocabulary
    number = pc.index_in(texts, value_set=pa.array(concepts, pa.string()))
    row = np.repeat(np.arange(len(table)), count)
    if number.null_count:
        first = pc.index(pc.is_null(number), True).as_py()
        raise UserError(
            f"{texts[first].as_py()!r}, a concept of {uid[row[first]]}, is not in the vocabulary "
            "of curate; run `dvc repro curate`"
        )
    position = np.arange(len(row)) - np.repeat(count.cumsum() - count, count)
    shape = len(table), max(1, int(count.max(initial=0)))

    def spread(values: pa.ChunkedArray, dtype: type, pad: float) -> np.ndarray:
        out = np.full(shape, pad, dtype)
        out[row, position] = values.to_numpy()
        return out

    return Supervision(
        fields["rule"][0].as_py() if len(row) else "",
        concepts,
        uid,
        pc.fill_null(table["kept"], False).to_numpy(),
        pc.fill_null(table["drop_reason"], "").to_numpy(),
        spread(number, np.int32, -1),
        **{name: spread(fields[name], dtype, pad) for name, (dtype, pad) in COLUMNS.items()},
    )
