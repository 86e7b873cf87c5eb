"""Pictures of shards by row, in any order: the bytes of one member are read, nothing is unpacked to disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from captionseg.datasets.shards import decode, opened


class Pictures:
    """uint8 [H, W, 3] of the rows of an index.

    A tar's table of contents is read when the first of its pictures is asked for: 16 bytes a row are kept.

    Args:
        pairs: folder of shards.
        shards: [N] name of the shard of each row.
        keys: [N] name of its sample inside.
    """

    def __init__(self, pairs: Path, shards: Sequence[str], keys: Sequence[str]) -> None:
        self.pairs = pairs
        self.names, self.shard = np.unique(np.asarray(shards, str), return_inverse=True)
        self.keys = np.asarray(keys, str)
        self.offset, self.size = np.full(len(self.keys), -1, np.int64), np.zeros(len(self.keys), np.int64)

    @staticmethod
    def of_index(pairs: Path, index: Path) -> Pictures:
        """The pictures of an index's rows."""
        ids = pq.read_table(index / "ids.parquet", columns=["shard", "key"])
        return Pictures(pairs, ids["shard"].to_pylist(), ids["key"].to_pylist())

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, row: int) -> np.ndarray:
        """The picture of a row.

        Raises:
            UserError: if it is not there, or does not decode.
        """
        path = self.path(row)
        if self.offset[row] < 0:
            self.look_up(int(self.shard[row]))
        with path.open("rb") as stream:
            data = os.pread(stream.fileno(), int(self.size[row]), int(self.offset[row]))
        return decode(data, path, self.keys[row])

    def path(self, row: int) -> Path:
        """The tar of a row."""
        return self.pairs / f"{self.names[self.shard[row]]}.tar"

    def look_up(self, shard: int) -> None:
        """Where the pictures of a shard lie."""
        rows = np.flatnonzero(self.shard == shard)
        with opened(self.path(int(rows[0]))) as (_, member):
            for row in rows:
                found = member(self.keys[row])
                self.offset[row], self.size[row] = found.offset_data, found.size
