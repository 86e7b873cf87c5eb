"""The three formats of a shard: a tar, a folder of files, a parquet file with images."""

from __future__ import annotations

import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from captionseg.images import LARGEST_FILE
from captionseg.records import UserError
from captionseg.sources.folders.picture_files import check_size, read_pictures
from captionseg.sources.reasons import Refusal
from captionseg.sources.sharded.img2dataset_table import find_images, read_images, read_records
from captionseg.sources.sharded.locations import Location
from captionseg.sources.sharded.members import (
    Files,
    Member,
    group_files,
    list_folder,
    list_tar,
    read_from_folder,
    read_from_tar,
)
from captionseg.sources.sharded.sample_reader import ListedRow, ReadMember, SampleReader
from captionseg.storage.remote import hide_secrets, is_file, is_folder, open_file, read_ranges

log = logging.getLogger(__name__)

MISSING = Member("", refusal=Refusal("damaged_archive", "its table is there, and the shard is not"))


@dataclass
class Contents:
    """What is in a shard.

    Attributes:
        files: its files, by sample.
        read: returns the bytes of one of them.
        records: rows of the table beside it, or of itself where it is a table.
    """

    files: Files
    read: ReadMember
    records: list[dict[str, Any]] = field(default_factory=list)


class Shard(ABC):
    """A shard of any format.

    Args:
        url: of the tar, the folder or the parquet file.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    @abstractmethod
    def open(self, caption_names: Sequence[str]) -> contextlib.AbstractContextManager[Contents]:
        """Open the shard; its files can be read as long as it is open.

        Args:
            caption_names: of the column of captions in its table, the first that is there.

        Raises:
            UserError: where it is not of this format.
        """

    @abstractmethod
    def read(self, locations: Sequence[Location]) -> Iterator[bytes | Refusal]:
        """Yield the bytes of some images, or why there are none."""

    def list_rows(
        self, name: str, caption_names: Sequence[str], *, joined: bool
    ) -> Iterator[ListedRow]:
        """Yield rows of LISTING with the locations of their images; see SampleReader."""
        with self.open(caption_names) as contents:
            reader = SampleReader(name, contents.read, caption_names, joined=joined)
            yield from reader.list_rows(contents.files, contents.records)


def open_shard(url: str) -> Shard:
    """A shard of the format that its name says."""
    if url.endswith(".tar"):
        return TarShard(url)
    return ParquetShard(url) if url.endswith(".parquet") else FolderShard(url)


class TarShard(Shard):
    """A tar, as webdataset reads it, with img2dataset's table beside it or without."""

    @contextlib.contextmanager
    def open(self, caption_names: Sequence[str]) -> Iterator[Contents]:
        """See Shard."""
        records, refused = read_table_beside(self.url.removesuffix(".tar"), caption_names)
        if not is_file(self.url):
            yield Contents(Files(refused=[MISSING, *refused]), read_from_folder(""), records)
            return
        with open_file(self.url) as stream:
            files = group_files(list_tar(stream))
            files.refused += refused
            yield Contents(files, read_from_tar(stream), records)

    def read(self, locations: Sequence[Location]) -> Iterator[bytes | Refusal]:
        """See Shard."""
        sizes = [min(location.size, LARGEST_FILE + 1) for location in locations]
        ranges = [
            (location.start, location.start + size) for location, size in zip(locations, sizes)
        ]
        for size, data in zip(sizes, read_ranges(self.url, ranges), strict=True):
            if len(data) == size:
                yield check_image(data)
            else:
                yield Refusal("changed", "the tar became shorter")


class FolderShard(Shard):
    """A folder of files, as img2dataset's output format `files` has it."""

    @contextlib.contextmanager
    def open(self, caption_names: Sequence[str]) -> Iterator[Contents]:
        """See Shard."""
        records, refused = read_table_beside(self.url, caption_names)
        exists = is_folder(self.url)
        files = group_files(list_folder(self.url)) if exists else Files(refused=[MISSING])
        files.refused += refused
        yield Contents(files, read_from_folder(self.url), records)

    def read(self, locations: Sequence[Location]) -> Iterator[bytes | Refusal]:
        """See Shard."""
        return read_pictures(self.url, [location.member for location in locations])


class ParquetShard(Shard):
    """A parquet file with a column of images."""

    @contextlib.contextmanager
    def open(self, caption_names: Sequence[str]) -> Iterator[Contents]:
        """See Shard; the image of a row is a file whose `start` is the number of the row."""
        files = Files()
        try:
            column = find_images(self.url)
            records = list(read_records(self.url, caption_names)) if column else []
        except UserError as error:
            refusal = Refusal("damaged_archive", str(error).partition(": ")[2])
            column, records = "", []
            files.refused.append(Member("", refusal=refusal))
        if not column and not files.refused:
            raise UserError(
                f"{hide_secrets(self.url)}: has no column of pictures; source urls reads URLs, and "
                "source table names of files"
            )
        for number, record in enumerate(records):
            record["key"] = str(record.get("key") or number + 1)
            files.samples.setdefault(record["key"], {"jpg": Member(column, number)})
        yield Contents(files, lambda member: b"", records)

    def read(self, locations: Sequence[Location]) -> Iterator[bytes | Refusal]:
        """See Shard."""
        if not locations:
            return
        numbers = [location.start for location in locations]
        for data in read_images(self.url, locations[0].member, numbers):
            if data is None:
                yield Refusal("no_picture", "the row has no picture")
            else:
                yield check_image(data)


def read_table_beside(
    stem: str, caption_names: Sequence[str]
) -> tuple[list[dict[str, Any]], list[Member]]:
    """The rows of img2dataset's table of a shard, and what is refused of it.

    A damaged table is ignored, with a row that says so.

    Args:
        stem: of the shard; the table is stem.parquet.
        caption_names: see Shard.open.
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


def check_image(data: bytes) -> bytes | Refusal:
    """The bytes of an image, or why they cannot be one."""
    try:
        return check_size(data)
    except Refusal as refusal:
        return refusal
