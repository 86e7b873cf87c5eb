"""The successful pairs of a run as arrays, 32 bytes each: what tables of other stages are compared
with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int32, Integer, Shaped, UInt64
from pyarrow import compute

from captionseg.expectations.hashes import hash_values
from captionseg.storage.folders import list_files
from captionseg.storage.reading import read_table

pc: Any = compute  # its functions are made when it is imported

ROWS = 1 << 15
"""Number of rows of a part of a table, at least; a part ends with a shard."""

NO_SIZE = np.iinfo(np.int32).min
"""Width or height where there is none."""

COLUMNS = ("uid", "key", "split", "width", "height")


def stream_shards(
    folder: Path, columns: Sequence[str], files: Sequence[Path] | None = None
) -> Iterator[pa.Table]:
    """Yield the rows of all parquet files in a folder, some whole shards at a time.

    Args:
        folder: the folder.
        columns: columns to read; a column `shard` is added.
        files: files to read instead of all, in name order; at least one.

    Raises:
        UserError: if there are no files, or one cannot be read.
    """
    tables: list[pa.Table] = []
    for file in list_files(folder, ".parquet") if files is None else files:
        table = read_table(file, columns=columns)
        shard = pa.array([file.stem], pa.string()).take(pa.array(np.zeros(len(table), np.int8)))
        tables.append(table.append_column("shard", shard))
        if sum(map(len, tables)) >= ROWS:
            yield pa.concat_tables(tables)
            tables = []
    if tables:
        yield pa.concat_tables(tables)


def hash_texts(texts: pa.Array | pa.ChunkedArray) -> UInt64[np.ndarray, " row"]:
    """Hash each text; equal ones in any run have equal hashes."""
    return hash_values(texts.to_numpy(zero_copy_only=False))


class Uids:
    """Finds rows by their uids, in 12 bytes a row.

    Uids are compared by hashes of 64 bits: among twelve million different ones two share a hash
    with a chance of 4 in a million.

    Args:
        hashes: of the uids of all rows, by `hash_texts`.
    """

    def __init__(self, hashes: UInt64[np.ndarray, " row"]) -> None:
        order = hashes.argsort(kind="stable")
        self.sorted = hashes[order]
        self.order = order.astype(np.int32 if len(order) < 1 << 31 else np.int64)

    def __len__(self) -> int:
        return len(self.order)

    def find(self, texts: pa.Array | pa.ChunkedArray) -> Integer[np.ndarray, " text"]:
        """Return the first row that has each uid; -1 for uids of no row."""
        if not len(self):
            return np.full(len(texts), -1)
        hashes = hash_texts(texts)
        place = np.minimum(np.searchsorted(self.sorted, hashes), len(self) - 1)
        return np.where(self.sorted[place] == hashes, self.order[place], -1)

    @cached_property
    def is_first(self) -> Bool[np.ndarray, " row"]:
        """Whether no earlier row has the same uid."""
        first = np.ones(len(self), bool)
        first[self.order[1:][self.sorted[1:] == self.sorted[:-1]]] = False
        return first

    def repeat(self, values: Shaped[np.ndarray, " row"]) -> Shaped[np.ndarray, " row"]:
        """Give all rows of a uid the value of its first row."""
        if self.is_first.all():
            return values
        starts = np.flatnonzero(self.is_first[self.order])
        lengths = np.diff(starts, append=len(self))
        repeated = np.empty_like(values)
        repeated[self.order] = np.repeat(values[self.order[starts]], lengths)
        return repeated


@dataclass(frozen=True)
class KnownPairs:
    """The N pairs that were successful, in the order of their shards.

    Attributes:
        folder: of the tables of pairs.
        rows: name of a shard -> number of its pairs, in order; shards without any are left out.
        uids: finds a pair by its uid.
        keys: hashes of the keys.
        splits: names of splits.
        split: place of the pair's split among them.
        size: width and height, NO_SIZE where there is none.
    """

    folder: Path
    rows: dict[str, int]
    uids: Uids
    keys: UInt64[np.ndarray, " row"]
    splits: list[str | None]
    split: Int32[np.ndarray, " row"]
    size: Int32[np.ndarray, "row 2"]

    @staticmethod
    def read(folder: Path) -> KnownPairs:
        """Read the tables of pairs in a folder.

        Raises:
            UserError: if there are none, or one cannot be read.
        """
        rows, places = dict[str, int](), dict[str | None, int]()
        uids, keys, split, size = [], [], [], []
        for table in stream_successes(folder, COLUMNS):
            rows |= count_rows(table)
            uids.append(hash_texts(table["uid"]))
            keys.append(hash_texts(table["key"]))
            named = table["split"].combine_chunks().dictionary_encode("encode")
            new = [places.setdefault(name, len(places)) for name in named.dictionary.to_pylist()]
            split.append(np.array(new, np.int32)[named.indices.to_numpy()])
            sides = (pc.fill_null(table[name], NO_SIZE) for name in ("width", "height"))
            size.append(np.stack([side.to_numpy() for side in sides], axis=1))
        return KnownPairs(
            folder,
            rows,
            Uids(np.concatenate(uids)),
            np.concatenate(keys),
            list(places),
            np.concatenate(split),
            np.concatenate(size),
        )

    def __len__(self) -> int:
        return len(self.uids)

    def is_of(self, split: str, rows: Any = slice(None)) -> Bool[np.ndarray, " _n"]:
        """Return which of the pairs in some rows belong to a split."""
        place = self.splits.index(split) if split in self.splits else -1
        return self.split[rows] == place

    def find_shards(self, rows: Integer[np.ndarray, " _n"]) -> Integer[np.ndarray, " _n"]:
        """Return the places of the rows' shards in `self.rows`."""
        return np.searchsorted(np.cumsum([*self.rows.values()]), rows, side="right")

    def count_rows(self, chosen: Bool[np.ndarray, " row"]) -> dict[str, int]:
        """Count the chosen pairs of each shard; shards without any are left out."""
        counts = np.bincount(self.find_shards(np.flatnonzero(chosen)), minlength=len(self.rows))
        return {
            name: count for name, count in zip(self.rows, counts.tolist(), strict=True) if count
        }

    def mark(self, uids: pa.Array | pa.ChunkedArray, marks: Bool[np.ndarray, " row"]) -> None:
        """Set the marks of the first rows with some uids."""
        rows = self.uids.find(uids)
        marks[rows[rows >= 0]] = True

    def stream(self, columns: Sequence[str]) -> Iterator[tuple[slice, pa.Table]]:
        """Yield which rows come next, and some of their columns with a column `shard`."""
        end = 0
        for table in stream_successes(self.folder, columns):
            start, end = end, end + len(table)
            yield slice(start, end), table


def stream_successes(folder: Path, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Yield the rows of the pairs that were successful; see `stream_shards`."""
    for table in stream_shards(folder, [*columns, "status"]):
        yield table.filter(pc.equal(table["status"], "success")).drop_columns("status")


def count_rows(table: pa.Table) -> dict[str, int]:
    """Count the rows of each shard in a table with a column `shard`, in order."""
    counts = table["shard"].value_counts()
    return dict(
        zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)
    )


def look_up(
    values: Shaped[np.ndarray, " row *item"], rows: Integer[np.ndarray, " _n"], absent: object
) -> Shaped[np.ndarray, " _n *item"]:
    """Return the values of some rows, and `absent` for row -1."""
    found = np.full((len(rows), *values.shape[1:]), absent, values.dtype)
    found[rows >= 0] = values[rows[rows >= 0]]
    return found
