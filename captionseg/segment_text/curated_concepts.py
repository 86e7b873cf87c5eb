"""Reads the concepts that curation found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

from captionseg.records import SUPERVISION, UserError
from captionseg.storage.folders import ROWS, RowStream

pc: Any = compute  # its functions are made when it is imported


def read_concepts(supervision: Path, curation: str, limit: int) -> pa.Table:
    """Read `uid` of all rows, and `concepts`: those of highest score, null for a row that is not
    kept.

    Args:
        supervision: folder with a subfolder for each curation rule.
        curation: name of the rule.
        limit: concepts an image.

    Raises:
        UserError: if there is no supervision of that rule.
    """
    files = sorted((supervision / curation).glob("*.parquet"))
    if not files:
        available = (
            ", ".join(
                sorted(p.name for p in supervision.iterdir() if any(p.glob("[0-9]*.parquet")))
            )
            or "none"
        )
        raise UserError(
            f"segment_text.curation: no supervision of {curation!r} in {supervision} "
            f"(there: {available})"
        )
    columns = ("uid", "kept", "concepts")
    stream, parts = RowStream(files, columns, schema=SUPERVISION, fields=("text",)), []
    while (table := stream.take(ROWS)) is not None:
        parts.append(pa.table({"uid": table["uid"], "concepts": cut(table, limit)}))
    return pa.concat_tables(parts)


def cut(table: pa.Table, limit: int) -> pa.Array:
    """The first `limit` texts of each row, null for a row that is not kept."""
    lists = table["concepts"].combine_chunks()
    count = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    place = np.arange(count.sum()) - np.repeat(count.cumsum() - count, count)
    texts = pc.struct_field(pc.list_flatten(lists), "text").filter(pa.array(place < limit))
    ends = np.concatenate([[0], np.minimum(count, limit).cumsum()])
    dropped = pc.invert(pc.fill_null(table["kept"], False)).combine_chunks()
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), texts, mask=dropped)
