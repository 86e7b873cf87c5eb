"""Supervision on disk: a folder for each rule, a parquet file for each shard (schema SUPERVISION).

The files hold concepts as text; in memory they are numbers of the vocabulary. Whole columns are
read and written, never single rows: of all shards at once (`read`), or of a part of the rows at a
time (`stream_rows`, `list_concepts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float32, Int, Int32
from pyarrow import compute

from captionseg.records import CONCEPT, SUPERVISION, UserError
from captionseg.storage.folders import ROWS, RowStream, list_files, read_tables
from captionseg.storage.reading import read_table
from captionseg.storage.writing import write_table
from captionseg.supervision.columns import COLUMNS, Supervision

pc: Any = compute  # its functions are made when it is imported

BEST = pa.schema([("uid", pa.string()), ("concepts", pa.list_(pa.string()))])
"""Best concepts of images, as `read_best` has them."""


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


@dataclass(frozen=True)
class ConceptLists:
    """The concepts of n images, m in all, end to end.

    Attributes:
        uid: ids, in the order of the files.
        kept: is the image used?
        count: how many concepts each image has.
        concept: numbers of the vocabulary, highest score first within an image.
        weight: unnormalised probability of being drawn.
        cluster: semantic cluster, -1 without clustering.
    """

    uid: pa.ChunkedArray
    kept: Bool[np.ndarray, " n"]
    count: Int[np.ndarray, " n"]
    concept: Int32[np.ndarray, " m"]
    weight: Float32[np.ndarray, " m"]
    cluster: Int32[np.ndarray, " m"]


def stream_rows(folder: Path) -> RowStream:
    """The rows of all shards of a folder in name order, with what `list_concepts` reads of them.

    Raises:
        UserError: if there are no shards; while rows are taken, if one is damaged.
    """
    files = list_files(folder, ".parquet")
    columns, fields = ("uid", "kept", "concepts"), ("text", "weight", "cluster")
    return RowStream(files, columns, schema=SUPERVISION, fields=fields)


def list_concepts(table: pa.Table, vocabulary: pa.Array) -> ConceptLists:
    """The concepts of some rows of `stream_rows`, without objects for each.

    Args:
        table: the rows.
        vocabulary: [C] that concepts are numbers of.

    Raises:
        UserError: if the rows name a concept that is not in the vocabulary.
    """
    lists = table["concepts"]
    count = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    structs = pc.list_flatten(lists)
    text, weight, cluster = (pc.struct_field(structs, n) for n in ("text", "weight", "cluster"))
    return ConceptLists(
        table["uid"],
        pc.fill_null(table["kept"], False).to_numpy(),
        count,
        number_texts(text, vocabulary, table["uid"], count).to_numpy(),
        weight.to_numpy(),
        cluster.to_numpy(),
    )


def read_best(file: Path, limit: int) -> pa.Table:
    """Read `uid` of all rows of a shard, and `concepts`: the texts of the `limit` of highest score,
    null for a row that is not kept.

    Raises:
        UserError: if the file is damaged.
    """
    columns, parts = ("uid", "kept", "concepts"), [BEST.empty_table()]
    stream = RowStream([file], columns, schema=SUPERVISION, fields=("text",))
    while (table := stream.take(ROWS)) is not None:
        best = {"uid": table["uid"], "concepts": cut_texts(table, limit)}
        parts.append(pa.table(best, schema=BEST))
    return pa.concat_tables(parts)


def cut_texts(table: pa.Table, limit: int) -> pa.Array:
    """The first `limit` texts of each row, null for a row that is not kept."""
    lists = table["concepts"].combine_chunks()
    count = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    place = np.arange(count.sum()) - np.repeat(count.cumsum() - count, count)
    texts = pc.struct_field(pc.list_flatten(lists), "text").filter(pa.array(place < limit))
    ends = np.concatenate([[0], np.minimum(count, limit).cumsum()])
    dropped = pc.invert(pc.fill_null(table["kept"], False)).combine_chunks()
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), texts, mask=dropped)


def number_texts(
    texts: pa.ChunkedArray, vocabulary: pa.Array, uid: pa.ChunkedArray, count: Int[np.ndarray, " n"]
) -> pa.ChunkedArray:
    """Number the concepts of n images by a vocabulary.

    Args:
        texts: of all images, end to end.
        vocabulary: [C].
        uid: of the images, for messages.
        count: how many texts each image has.

    Raises:
        UserError: for the first that is not in the vocabulary.
    """
    number = pc.index_in(texts, value_set=vocabulary)
    if number.null_count:
        first = pc.index(pc.is_null(number), True).as_py()
        row = int(np.searchsorted(count.cumsum(), first, side="right"))
        raise UserError(
            f"{texts[first].as_py()!r}, a concept of {uid[row].as_py()}, is not in the vocabulary "
            "of curate; run `dvc repro curate`"
        )
    return number


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
    column = table["concepts"]
    count = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    structs = pc.list_flatten(column)
    fields = dict(zip(CONCEPT.names, structs.flatten(), strict=True))
    texts = fields["text"]
    concepts = pc.unique(texts).to_pylist() if vocabulary is None else vocabulary
    number = number_texts(texts, pa.array(concepts, pa.string()), table["uid"], count)
    row = np.repeat(np.arange(len(table)), count)
    position = np.arange(len(row)) - np.repeat(count.cumsum() - count, count)
    shape = len(table), max(1, int(count.max(initial=0)))

    def spread(values: pa.ChunkedArray, dtype: type, pad: float) -> np.ndarray:
        out = np.full(shape, pad, dtype)
        out[row, position] = values.to_numpy()
        return out

    return Supervision(
        fields["rule"][0].as_py() if len(row) else "",
        concepts,
        table["uid"].to_numpy(),
        pc.fill_null(table["kept"], False).to_numpy(),
        pc.fill_null(table["drop_reason"], "").to_numpy(),
        spread(number, np.int32, -1),
        **{name: spread(fields[name], dtype, pad) for name, (dtype, pad) in COLUMNS.items()},
    )
