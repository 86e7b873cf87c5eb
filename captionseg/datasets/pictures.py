"""Pictures of shards by row, in any order: the bytes of one member are read, nothing is unpacked to disk."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from captionseg.records import UserError


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
        try:
            return np.array(Image.open(io.BytesIO(data)).convert("RGB"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise UserError(f"{path}: {self.keys[row]}.jpg does not decode: {error}") from None

    def path(self, row: int) -> Path:
        """The tar of a row."""
        return self.pairs / f"{self.names[self.shard[row]]}.tar"

    def look_up(self, shard: int) -> None:
        """Where the pictures of a shard lie."""
        rows = np.flatnonzero(self.shard == shard)
        path = self.path(int(rows[0]))
        try:
            with tarfile.open(path) as tar:
                there = {m.name: (m.offset_data, m.size) for m in tar.getmembers() if m.isfile()}
        except (tarfile.TarError, OSError) as error:
            raise UserError(f"{path}: cannot be read ({error}); delete {path.stem}_stats.json and download "
                            "again") from None
        for row in rows:
            try:
                self.offset[row], self.size[row] = there[f"{self.keys[row]}.jpg"]
            except KeyError:
                raise UserError(f"{path}: {self.keys[row]}.jpg is missing; delete {path.stem}_stats.json, download "
                                "again") from None
