"""Finds pairs by uid, by origin, or by an image."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

from captionseg import images
from captionseg.datasets.pair_tables import list_shards
from captionseg.records import PAIRS, UserError, one_line
from captionseg.sources.phash import hash_jpeg
from captionseg.storage.reading import read_table

pc: Any = compute  # its functions are made when it is imported

OUTDATED = "made by an older version: run `dvc repro`"
PREFIX = re.compile(r"[0-9a-f]{4,32}")
NEAR = 6
"""Bits of 64 that perceptual hashes of one picture may differ in: it was resized, or compressed
anew."""


@dataclass(frozen=True)
class Match:
    """A row of the pairs that matches a query.

    Attributes:
        shard: its shard.
        row: its number there.
        by: what matches: uid, url, source row, key, bytes of the picture or look of the picture.
        distance: bits of the perceptual hashes that differ; 0 where they were not compared.
    """

    shard: str
    row: int
    by: str
    distance: int = 0


Shards = Sequence[tuple[str, pa.Table]]
"""Some columns of all shards: their names and tables."""

Select = Callable[[pa.Table], Any]
"""The table of a shard -> [rows] bool, which rows fit."""


def find_pairs(pairs: Path, query: str) -> list[Match]:
    """Find the pairs that match a query, failed rows too; empty if there is none.

    The first of these with any match decides: a whole uid, URL, source row, or name of a sample
    in its shard; the bytes of a picture file of that name; the beginning of a uid (4 digits at
    least), or the end of a path; the look of the picture.

    Args:
        pairs: folder of shards.
        query: uid, URL, source row, key, path, or a part of one; or an image file.

    Raises:
        UserError: if no shard is finished or one is damaged, and for a file that is no picture.
    """
    shards = read_shards(pairs, ("uid", "key", "url", "source_row"))
    if matches := select_first(shards, list_names(query)):
        return matches
    data = read_picture(query) if os.path.isfile(query) else b""
    return (
        (find_bytes(pairs, data) if data else [])
        or select_first(shards, list_parts(query))
        or (find_similar(pairs, data, query) if data else [])
    )


def list_names(query: str) -> Iterator[tuple[str, Select]]:
    """Yield the columns that may equal a query."""
    for name in ("uid", "url", "source_row", "key"):
        yield name.replace("_", " "), lambda table, name=name: pc.equal(table[name], query)


def list_parts(query: str) -> Iterator[tuple[str, Select]]:
    """Yield the columns that a query may be a part of."""
    if PREFIX.fullmatch(query.lower()):
        yield "uid", lambda table: pc.starts_with(table["uid"], query.lower())
    if end := query.strip("/"):
        for name in ("url", "source_row"):
            yield (
                name.replace("_", " "),
                lambda table, name=name: pc.ends_with(table[name], f"/{end}"),
            )


def select_first(shards: Shards, selections: Iterable[tuple[str, Select]]) -> list[Match]:
    """The rows of the first selection that has any."""
    matches = ([*select_rows(shards, by, select)] for by, select in selections)
    return next(filter(None, matches), [])


def select_rows(shards: Shards, by: str, select: Select) -> Iterator[Match]:
    """Yield the matching rows of all shards."""
    for shard, table in shards:
        fits = pc.fill_null(select(table), False).to_numpy()
        yield from (Match(shard, int(row), by) for row in np.flatnonzero(fits))


def read_picture(path: str) -> bytes:
    """Read an image file.

    Raises:
        UserError: if it cannot be read.
    """
    try:
        return images.read_contents(path)
    except images.Unreadable as error:
        raise UserError(f"{one_line(path)}: cannot be read: {error}") from None


def find_bytes(pairs: Path, data: bytes) -> list[Match]:
    """Find the pairs whose original or stored image has these bytes."""
    names, digest = ("original_sha256", "sha256"), hashlib.sha256(data).hexdigest()
    return [
        *select_rows(
            read_shards(pairs, names),
            "bytes of the picture",
            lambda table: pc.or_kleene(*(pc.equal(table[name], digest) for name in names)),
        )
    ]


def find_similar(pairs: Path, data: bytes, name: str) -> list[Match]:
    """Find the pairs whose images are near duplicates of an image, the nearest first.

    Args:
        pairs: folder of shards.
        data: content of the image file.
        name: of the file, for messages.

    Raises:
        UserError: if it is no image.
    """
    try:
        phash = hash_image_file(data)
    except images.Unreadable as error:
        raise UserError(f"{one_line(name)}: not a picture that can be read: {error}") from None
    near = [
        Match(shard, row, "look of the picture", distance)
        for shard, table in read_shards(pairs, ("phash",))
        for row, distance in find_near(table["phash"], phash, NEAR)
    ]
    return sorted(near, key=lambda match: match.distance)


def hash_image_file(data: bytes) -> str:
    """The perceptual hash of an image file of any format."""
    stream = io.BytesIO()
    images.open_image(data).save(stream, "JPEG", quality=95)
    phash = hash_jpeg(stream.getvalue())
    assert phash is not None, "a JPEG of this moment can be decoded"
    return phash


def find_near(hashes: pa.ChunkedArray, phash: str, limit: int) -> Iterator[tuple[int, int]]:
    """Yield the rows whose perceptual hashes are near another one, with the distance in bits.

    Args:
        hashes: [N] 16 hex digits, null where there is no picture.
        phash: 16 hex digits.
        limit: largest distance.
    """
    rows = np.flatnonzero(pc.is_valid(hashes).to_numpy())
    texts = pc.drop_null(hashes).to_numpy(zero_copy_only=False).astype("S16")
    nibbles = np.array([int(chr(c), 16) if chr(c) in "0123456789abcdef" else 0 for c in range(128)])
    differing = nibbles[texts.view(np.uint8).reshape(-1, 16)] ^ nibbles[[*phash.encode()]]
    distance = np.bitwise_count(differing.astype(np.uint8)).sum(1)
    for position in np.flatnonzero(distance <= limit):
        yield int(rows[position]), int(distance[position])


def read_shards(pairs: Path, names: Sequence[str]) -> list[tuple[str, pa.Table]]:
    """Read columns of all shards."""
    return [(shard, read_columns(pairs, shard, names)) for shard in list_shards(pairs)]


def read_columns(pairs: Path, shard: str, names: Sequence[str]) -> pa.Table:
    """Read columns of a shard, all its rows.

    Raises:
        UserError: if one is missing, since an older version wrote the shard.
    """
    path = pairs / f"{shard}.parquet"
    return read_table(path, schema=PAIRS, columns=names, todo=OUTDATED)


def read_row(pairs: Path, match: Match) -> dict[str, Any]:
    """The whole row of a match, schema PAIRS, and its `shard`."""
    table = read_columns(pairs, match.shard, PAIRS.names)
    return {**table.slice(match.row, 1).to_pylist()[0], "shard": match.shard}
