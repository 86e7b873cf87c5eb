"""ids.parquet of an index: the pair of each row of its arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

from captionseg.records import IDS, UserError
from captionseg.storage.folders import read_tables
from captionseg.storage.reading import AGAIN, read_table

pc: Any = compute  # its functions are made when it is imported


def read_ids(index: Path) -> pa.Table:
    """The ids of an index, schema IDS, row i of the table those of row i of its arrays.

    Raises:
        UserError: if rows or pairs are missing, repeated or out of order.
    """
    path = index / "ids.parquet"
    table = read_table(path, schema=IDS)
    shard = table["shard"].combine_chunks()
    runs = 1 + pc.sum(pc.not_equal(shard[1:], shard[:-1])).as_py() if len(table) > 1 else len(table)
    checks = {
        "its rows are not numbered from 0 in order": not np.array_equal(
            table["row"].to_numpy(), np.arange(len(table))
        ),
        "uid, shard, key or split is missing in some row": any(
            table[name].null_count for name in IDS.names
        ),
        "a uid is there twice": pc.count_distinct(table["uid"]).as_py() != len(table),
        "the rows of a shard do not stand together": pc.count_distinct(shard).as_py() != runs,
    }
    if problems := [problem for problem, is_so in checks.items() if is_so]:
        raise UserError(f"{path}: {problems[0]}; {AGAIN}")
    return table


def number_pictures(pairs: pa.Table) -> np.ndarray:
    """Number the images of N pairs by `sha256`, in the order of their first pairs: [N] int64."""
    shown = pc.coalesce(pairs["sha256"], pairs["uid"]).combine_chunks()
    return shown.dictionary_encode().indices.to_numpy().astype(np.int64)


def count_shard_rows(ids: pa.Table) -> dict[str, int]:
    """Shard -> number of its rows, in the order of an index."""
    counts = ids["shard"].value_counts()
    return dict(zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist()))


def hash_ids(ids: pa.Table) -> str:
    """16 hex digits over the uids and splits of an index: the same for the same pairs in the same
    order.
    """
    total = hashlib.sha256()
    for name in ("uid", "split"):
        total.update("\n".join(ids[name].to_pylist()).encode())
    return total.hexdigest()[:16]


def number_shards(rows: Mapping[str, int]) -> dict[str, int]:
    """Replace the names of shards by 00000, 00001 and so on, as clip-retrieval names embeddings and
    metadata.
    """
    return {f"{number:05d}": count for number, count in enumerate(rows.values())}


def read_metadata(index: Path, ids: pa.Table) -> pa.Table:
    """uid and caption of every row of an index.

    Raises:
        UserError: if they are of other pairs than the ids.
    """
    folder = index / "metadata"
    names = [f"metadata_{number}" for number in number_shards(count_shard_rows(ids))]
    table = read_tables(folder, columns=["uid", "caption"], shards=names)
    if not table["uid"].combine_chunks().equals(ids["uid"].combine_chunks()):
        raise UserError(
            f"{folder}: of other pairs than {index / 'ids.parquet'}; run `dvc repro index`"
        )
    return table
