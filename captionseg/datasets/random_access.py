"""Reads images of shards by row, in any order: only the bytes of one tar member at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

from captionseg.datasets.ids import stream_ids
from captionseg.datasets.pair_tables import list_shards, read_shard
from captionseg.datasets.shard_images import (
    check_digest,
    decode,
    explain_absence,
    name_image,
    open_shard,
)
from captionseg.records import UserError
from captionseg.sources.source import Place

pc: Any = compute  # its functions are made when it is imported


class Pictures:
    """The images of an index by row, uint8 [H, W, 3].

    The tables of a shard are read with its first image. About 73 bytes per row are kept: its key, a
    hash of its uid, and file, offset, size and digest of its image. An image with another digest
    raises an error.

    Args:
        pairs: folder of shards.
        shards: [N] name of the shard of each row.
        keys: [N] name of its sample inside.
        uids: [N] of its pair, to compare with the shard's; None compares nothing.
    """

    def __init__(
        self,
        pairs: Path,
        shards: Sequence[str] | pa.ChunkedArray,
        keys: Sequence[str] | pa.ChunkedArray,
        uids: Iterable[str] | None = None,
    ) -> None:
        self.pairs = pairs
        encoded = combine(shards).dictionary_encode()  # if it is not yet
        self.names, self.shard = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
        self.keys = combine(keys)
        self.uids = None if uids is None else np.fromiter(map(hash, uids), np.int64)
        count = len(self.keys)
        self.offset, self.size = np.full(count, -1, np.int64), np.zeros(count, np.int32)
        self.digest = np.zeros((count, 32), np.uint8)
        self.file = np.full(count, -1, np.int32)  # -1: the tar of the row's shard
        self.files: dict[str, int] = {}
        self.places: list[str] = []

    @staticmethod
    def of_pairs(pairs: Path) -> Pictures:
        """The images of all successful pairs; of their tables, one is in memory."""
        shards, keys = [], []
        for shard in list_shards(pairs):
            table = read_shard(pairs, shard)
            part = table.filter(pc.equal(table["status"], "success"))["key"]
            shards.append(pa.array([shard] * len(part), pa.string()).dictionary_encode())
            keys.append(part.combine_chunks())
        names = pa.chunked_array(shards, pa.dictionary(pa.int32(), pa.string()))
        return Pictures(pairs, names, pa.chunked_array(keys, pa.string()))

    @staticmethod
    def of_index(pairs: Path, index: Path) -> Pictures:
        """The pictures of an index's rows."""
        parts = [(part["shard"].dictionary_encode(), part["key"]) for part in stream_ids(index)]
        shards = pa.chunked_array(
            [part[0] for part in parts], pa.dictionary(pa.int32(), pa.string())
        )
        keys = pa.chunked_array([part[1] for part in parts], pa.string())
        uids = (uid for part in stream_ids(index) for uid in part["uid"].to_pylist())
        return Pictures(pairs, shards, keys, uids)

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, row: int) -> np.ndarray:
        """The image of a row.

        Raises:
            UserError: if it is missing, has changed, or cannot be decoded.
        """
        path = self.path(row)
        if self.offset[row] < 0:
            self.look_up(int(self.shard[row]))
        number = int(self.file[row])
        file = str(path) if number < 0 else self.places[number]
        place = Place(file, int(self.offset[row]), int(self.size[row]))
        with explain_absence(place, path), Path(place.file).open("rb") as stream:
            data = os.pread(stream.fileno(), place.size, place.start)
        name = name_image(place, path, self.keys[row].as_py())
        check_digest(data, self.digest[row].tobytes().hex(), name, path)
        return decode(data, name)

    def path(self, row: int) -> Path:
        """The tar of a row."""
        return self.pairs / f"{self.names[self.shard[row]]}.tar"

    def look_up(self, shard: int) -> None:
        """Read offsets, sizes and digests of the images of a shard."""
        rows = np.flatnonzero(self.shard == shard)
        path = self.path(int(rows[0]))
        table = read_shard(self.pairs, path.stem).select(["key", "uid", "sha256"]).to_pydict()
        positions = {key: position for position, key in enumerate(table["key"])}
        with open_shard(path) as opened:
            for row in rows:
                key = self.keys[row].as_py()
                place, position = opened.find(key), positions.get(key)
                if position is None or (
                    self.uids is not None and hash(table["uid"][position]) != self.uids[row]
                ):
                    raise UserError(
                        f"{path.with_suffix('.parquet')}: {key} is not the pair that "
                        "was indexed; run `dvc repro index`"
                    )
                self.digest[row] = np.frombuffer(
                    bytes.fromhex(table["sha256"][position] or ""), np.uint8
                )
                self.offset[row], self.size[row] = place.start, place.size
                if place.file != str(path):
                    self.file[row] = self.number_file(place.file)

    def read_ahead(self, rows: np.ndarray) -> None:
        """Have the system read the tars of some rows from start to end, in the background."""
        if not hasattr(os, "posix_fadvise"):  # on macOS
            return
        for number in np.unique(self.shard[rows]):
            path = self.pairs / f"{self.names[number]}.tar"
            with contextlib.suppress(OSError), path.open("rb") as stream:
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)

    def number_file(self, file: str) -> int:
        """The number of a file that is not the tar of a shard."""
        if file not in self.files:
            self.files[file] = len(self.places)
            self.places.append(file)
        return self.files[file]


def combine(texts: Any) -> Any:
    """Return strings, or a column of Arrow's, as one array of Arrow's."""
    return (
        texts.combine_chunks()
        if isinstance(texts, pa.ChunkedArray)
        else pa.array(texts, pa.string())
    )
