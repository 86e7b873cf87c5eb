"""Where the samples of a shard lie: written while it is listed, read by whoever wants a picture."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

PLACES = pa.schema(
    [
        ("key", pa.string()),
        ("start", pa.int64()),  # byte of a tar, or row of a table
        ("size", pa.int64()),  # bytes
        ("member", pa.string()),  # name of the file in a folder
        ("original_width", pa.int32()),
        ("original_height", pa.int32()),
        ("original_sha256", pa.string()),
    ]
)


class Place(NamedTuple):
    """A row of PLACES: a sample, and what was written down of its picture before it was shrunk."""

    key: str
    start: int
    size: int
    member: str
    original_width: int | None = None
    original_height: int | None = None
    original_sha256: str | None = None


def write_places(places: Sequence[Place], path: str) -> None:
    """Write the places of a shard."""
    table = pa.Table.from_pylist([place._asdict() for place in places], PLACES)
    with pa.ipc.new_file(path, PLACES) as file:
        file.write_table(table)


@functools.lru_cache(maxsize=4)
def read_places(path: str, listing: str) -> Mapping[str, Place]:
    """The places of a shard, by key.

    Args:
        path: of the file.
        listing: hash of the listing that it was written with; a later one has the same path.
    """
    del listing
    with pa.memory_map(path) as stream:
        rows = pa.ipc.open_file(stream).read_all().to_pylist()
    return {row["key"]: Place(**row) for row in rows}
