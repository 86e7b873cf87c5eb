"""The three forms that a shard has: a tar, a folder of files, a parquet file with pictures."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from captionseg.images import LARGEST_FILE
from captionseg.records import UserError
from captionseg.sources.folders.picture_files import read_pictures, refuse_length
from captionseg.sources.reasons import Refusal
from captionseg.sources.sharded.img2dataset_table import find_images, read_images, read_records
from captionseg.sources.sharded.locations import Place
from captionseg.sources.sharded.members import (
    Files,
    Member,
    group_files,
    list_folder,
    list_tar,
    read_below,
    read_from,
)
from captionseg.sources.sharded.sample_reader import Listed, SampleReader
from captionseg.storage.remote import hide_secrets, is_file, is_folder, open_file, read_ranges

log = logging.getLogger(__name__)

GONE = Member("", refusal=Refusal("damaged_archive", "its table is there, and the shard is not"))


class Shard(Protocol):
    """A shard of any form."""

    def list_rows(
        self, name: str, caption_names: Sequence[str], *, joined: bool
    ) -> Iterator[Listed]:
        """Rows of LISTING, and where their pictures lie; see SampleReader."""
        ...

    def read(self, places: Sequence[Place]) -> Iterator[bytes | Refusal]:
        """The pictures of some rows, or why there are none."""
        ...


def open_shard(url: str) -> Shard:
    """A shard by its name."""
    if url.endswith(".tar"):
        return TarShard(url)
    return ParquetShard(url) if url.endswith(".parquet") else FolderShard(url)


class TarShard:
    """A tar, as webdataset reads it, with img2dataset's table beside it or without.

    Args:
        url: of the tar.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def list_rows(
        self, name: str, caption_names: Sequence[str], *, joined: bool
    ) -> Iterator[Listed]:
        """See Shard."""
        records, refused = read_beside(self.url.removesuffix(".tar"), caption_names)
        if not is_file(self.url):
            reader = SampleReader(name, read_below(""), caption_names, joined=joined)
            yield from reader.list_rows(Files(refused=[GONE, *refused]), records)
            return
        with open_file(self.url) as stream:
            files = group_files(list_tar(stream))
            files.refused += refused
            reader = SampleReader(name, read_from(stream), caption_names, joined=joined)
            yield from reader.list_rows(files, records)

    def read(self, places: Sequence[Place]) -> Iterator[bytes | Refusal]:
        """See Shard."""
        sizes = [min(place.size, LARGEST_FILE + 1) for place in places]
        ranges = [(place.start, place.start + size) for place, size in zip(places, sizes)]
        for size, data in zip(sizes, read_ranges(self.url, ranges), strict=True):
            whole = len(data) == size
            yield check(data) if whole else Refusal("changed", "the tar became shorter")


class FolderShard:
    """A folder of files, as img2dataset's form `files` has it.

    Args:
        url: of the folder.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def list_rows(
        self, name: str, caption_names: Sequence[str], *, joined: bool
    ) -> Iterator[Listed]:
        """See Shard."""
        records, refused = read_beside(self.url, caption_names)
        there = is_folder(self.url)
        files = group_files(list_folder(self.url)) if there else Files(refused=[GONE])
        files.refused += refused
        reader = SampleReader(name, read_below(self.url), caption_names, joined=joined)
        yield from reader.list_rows(files, records)

    def read(self, places: Sequence[Place]) -> Iterator[bytes | Refusal]:
        """See Shard."""
        return read_pictures(self.url, [place.member for place in places])


class ParquetShard:
    """A parquet file with a column of pictures.

    Args:
        url: of the file.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def list_rows(
        self, name: str, caption_names: Sequence[str], *, joined: bool
    ) -> Iterator[Listed]:
        """See Shard."""
        del joined  # cells have captions, not lines
        reader = SampleReader(name, lambda member: b"", caption_names, joined=True)
        try:
            column = find_images(self.url)
            records = list(read_records(self.url, caption_names)) if column else []
        except UserError as error:
            refusal = Refusal("damaged_archive", str(error).partition(": ")[2])
            yield reader.refuse("", refusal), None
            return
        if not column:
            raise UserError(
                f"{hide_secrets(self.url)}: has no column of pictures; source urls reads URLs, and "
                "source table names of files"
            )
        files = Files()
        for number, record in enumerate(records):
            record["key"] = str(record.get("key") or number + 1)
            files.samples.setdefault(record["key"], {"jpg": Member(column, number)})
        yield from reader.list_rows(files, records)

    def read(self, places: Sequence[Place]) -> Iterator[bytes | Refusal]:
        """See Shard."""
        if not places:
            return
        numbers = [place.start for place in places]
        for data in read_images(self.url, places[0].member, numbers):
            yield Refusal("no_picture", "the row has no picture") if data is None else check(data)


def read_beside(
    stem: str, caption_names: Sequence[str]
) -> tuple[list[dict[str, Any]], list[Member]]:
    """The rows of the table beside a shard, and what is refused of it: a damaged one is passed
    over, with a row that says so.
    """
    url = f"{stem}.parquet"
    if not is_file(url):
        return [], []
    try:
        records = list(read_records(url, caption_names))
    except UserError as error:
        text = f"its table is passed over: {str(error).partition(': ')[2]}"
        return [], [Member("table", refusal=Refusal("damaged_archive", text))]
    if records and "key" not in records[0]:
        log.warning("%s: has no column key, so it is passed over", hide_secrets(url))
        return [], []
    return records, []


def check(data: bytes) -> bytes | Refusal:
    """The bytes of a picture, or why they are none."""
    try:
        return refuse_length(data)
    except Refusal as refusal:
        return refusal
