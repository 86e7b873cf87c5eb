"""ids.parquet of an index: the pair of each row of its arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
from pyarrow import compute

from captionseg.records import IDS, UserError
from captionseg.storage.folders import ROWS, read_tables
from captionseg.storage.reading import AGAIN, read_batches, read_table

pc: Any = compute  # its functions are made when it is imported


def read_ids(index: Path) -> pa.Table:
    """The ids of an index, schema IDS, row i of the table those of row i of its arrays.

    Raises:
        UserError: if rows or pairs are missing, repeated or out of order.
    """
    return pa.Table.from_batches(stream_ids(index), IDS)


def stream_ids(index: Path, size: int = ROWS) -> Iterator[pa.RecordBatch]:
    """Yield the ids of an index in order, schema IDS, at most `size` rows at a time.

    Of all rows only a hash of 8 bytes is kept.

    Raises:
        UserError: as `read_ids`; of repeated pairs after the last row.
    """
    path = index / "ids.parquet"
    rows, shards, hashes = 0, dict[str, int](), []
    for batch in read_batches(path, IDS.names, size, schema=IDS):
        if any(batch[name].null_count for name in IDS.names):
            refuse(path, "uid, shard, key or split is missing in some row")
        if not np.array_equal(batch["row"].to_numpy(), np.arange(rows, rows + len(batch))):
            refuse(path, "its rows are not numbered from 0 in order")
        if not add_counts(shards, batch["shard"]):
            refuse(path, "the rows of a shard do not stand together")
        rows += len(batch)
        hashes.append(np.fromiter(map(hash, batch["uid"].to_pylist()), np.int64, len(batch)))
        yield batch
    if has_repeated(hashes):  # which different uids may have
        uid = read_table(path, schema=IDS, columns=["uid"])["uid"]
        if pc.count_distinct(uid).as_py() < rows:
            refuse(path, "a uid is there twice")


def has_repeated(parts: list[np.ndarray]) -> bool:
    """Return whether any number is there twice in some arrays; the list is emptied."""
    numbers = np.concatenate([*parts, np.zeros(0, np.int64)])
    parts.clear()
    numbers.sort()  # np.unique hashes them, which takes longer and several times the memory
    return bool((numbers[1:] == numbers[:-1]).any())


def refuse(path: Path, problem: str) -> NoReturn:
    """Raise UserError for the ids of an index."""
    raise UserError(f"{path}: {problem}; {AGAIN}")


def number_pictures(pairs: pa.Table) -> np.ndarray:
    """Number the images of N pairs by `sha256`, in the order of their first pairs: [N] int64."""
    shown = pc.coalesce(pairs["sha256"], pairs["uid"]).combine_chunks()
    return shown.dictionary_encode().indices.to_numpy().astype(np.int64)


def count_shard_rows(ids: pa.Table) -> dict[str, int]:
    """Shard -> number of its rows, in the order of an index."""
    counts = ids["shard"].value_counts()
    return dict(zip(*(column.to_pylist() for column in counts.flatten()), strict=True))


def count_index_shards(index: Path) -> dict[str, int]:
    """Shard -> number of its rows in an index, in order, without all ids in memory."""
    path, counts = index / "ids.parquet", dict[str, int]()
    for batch in read_batches(path, ["shard"], ROWS, schema=IDS):
        if not add_counts(counts, batch["shard"]):
            refuse(path, "the rows of a shard do not stand together")
    return counts


def add_counts(counts: dict[str, int], shards: pa.Array) -> bool:
    """Add further rows of an index to the numbers of rows of its shards.

    Returns:
        False if the rows of some shard do not stand together.
    """
    runs = pc.run_end_encode(shards)
    lengths = np.diff(runs.run_ends.to_numpy(), prepend=0)
    for shard, length in zip(runs.values.to_pylist(), lengths.tolist(), strict=True):
        if shard in counts and shard != next(reversed(counts)):
            return False
        counts[shard] = counts.get(shard, 0) + length
    return True


def hash_ids(ids: Iterable[pa.RecordBatch]) -> str:
    """16 hex digits over the uids and splits of an index: the same for the same pairs in the same
    order.

    Args:
        ids: of `stream_ids`.
    """
    total, splits = hashlib.sha256(), []
    for batch in ids:
        total.update((("\n" if splits else "") + "\n".join(batch["uid"].to_pylist())).encode())
        splits.append(batch["split"].dictionary_encode())
    for number, part in enumerate(splits):
        total.update((("\n" if number else "") + "\n".join(part.to_pylist())).encode())
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
