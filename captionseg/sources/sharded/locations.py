"""Where the images of a shard are: written while it is listed, read when an image is."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

LOCATIONS = pa.schema(
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


class Location(NamedTuple):
    """Where the image of a sample is, and its properties before it was shrunk: a row of LOCATIONS.

    Attributes:
        key: of the sample in its shard.
        start, size: bytes of a tar; in a table, `start` is the number of the row, from 0.
        member: name of the file in a folder, or of the column of a table.
        original_width, original_height: pixels; None where they are unknown.
        original_sha256: 64 hex digits; None where it is unknown.
    """

    key: str
    start: int
    size: int
    member: str
    original_width: int | None = None
    original_height: int | None = None
    original_sha256: str | None = None


def write_locations(locations: Sequence[Location], path: str) -> None:
    """Write the locations of a shard to an Arrow file."""
    table = pa.Table.from_pylist([location._asdict() for location in locations], LOCATIONS)
    with pa.ipc.new_file(path, LOCATIONS) as file:
        file.write_table(table)


@functools.lru_cache(maxsize=4)
def read_locations(path: str, listing: str) -> Mapping[str, Location]:
    """The locations of a shard, by key.

    Args:
        path: of the file.
        listing: hash of the listing that it was written with: a later listing has the same paths.
    """
    del listing
    with pa.memory_map(path) as stream:
        rows = pa.ipc.open_file(stream).read_all().to_pylist()
    return {row["key"]: Location(**row) for row in rows}
