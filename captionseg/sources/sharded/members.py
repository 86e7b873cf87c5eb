"""The files of a shard: members of a tar or of a folder, grouped by sample.

As in webdataset, files whose names are equal up to the first dot are one sample: 000012.jpg, .txt,
.json. Nothing is ever unpacked, so a name cannot lead out of the archive; names that would are
refused all the same, and so is every second member of one name.
"""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from captionseg.records import one_line
from captionseg.sources.folders.picture_files import read_contents
from captionseg.sources.reasons import Refusal
from captionseg.storage.remote import find_scheme, join, list_entries, open_file

PICTURES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif")
TEXTS = ("txt", "caption", "text")
LARGEST_TEXT = 2**20  # bytes of a caption or of a json
DAMAGED = (tarfile.TarError, EOFError, OverflowError, RecursionError, MemoryError)
END = 2 * tarfile.BLOCKSIZE
"""Bytes of zero that end a tar."""


class Member(NamedTuple):
    """A file of a shard.

    Attributes:
        name: in the shard; of what is no file of a sample, the name for its row.
        start, size: where it is in a tar, in bytes; 0 and -1 in a folder.
        refusal: why it is not used.
    """

    name: str
    start: int = 0
    size: int = -1
    refusal: Refusal | None = None


@dataclass
class Files:
    """The files of a shard.

    Attributes:
        samples: key -> suffix in small letters -> file, in the order of the shard.
        refused: those that are not used.
    """

    samples: dict[str, dict[str, Member]] = field(default_factory=dict)
    refused: list[Member] = field(default_factory=list)


def list_tar(stream: BinaryIO) -> Iterator[Member]:
    """Yield the files of a tar, and last, if it is damaged, a refused member that says where."""
    length = stream.seek(0, 2)
    stream.seek(0)
    count, offset = 0, 0
    try:
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            while (info := tar.next()) is not None:
                if info.offset_data + info.size > length:
                    raise tarfile.ReadError("it ends in the middle of a file")
                if info.size < 0 or tar.offset <= offset:  # it would be read for ever
                    raise tarfile.ReadError("a file of negative size")
                offset = tar.offset
                if info.isfile():
                    yield Member(info.name, info.offset_data, info.size, refuse_name(info.name))
                elif not info.isdir():
                    yield Member(info.name, refusal=Refusal("unreadable_file", "no regular file"))
                count += 1
                tar.members = []  # type: ignore[misc]  # of which next() keeps a list
            offset = tar.offset
        stream.seek(offset)
        end = stream.read(END)
        if any(end) or len(end) < END:
            raise tarfile.ReadError("its end is missing, or not a tar's")
    # a hostile header can make tarfile raise almost anything
    except (*DAMAGED, OSError, ValueError, LookupError) as error:
        text = f"damaged at byte {offset}, behind {count} files: {one_line(error, 100)}"
        yield Member("", offset, refusal=Refusal("damaged_archive", text))


def list_folder(url: str) -> Iterator[Member]:
    """Yield the files of a folder, without those of its subfolders."""
    for name in list_entries(url)[0]:
        yield Member(name)


def refuse_name(name: str) -> Refusal | None:
    """Why a name in an archive is refused; None where it is not."""
    path = name.replace("\\", "/")
    if path.startswith("/") or ".." in path.split("/") or "\0" in path or path[1:3] == ":/":
        return Refusal("unsafe_path", f"its name leads out of the archive: {name}")
    try:
        name.encode()
    except UnicodeEncodeError:
        return Refusal("unsafe_path", "its name is not UTF-8")
    return None


def group_files(members: Iterable[Member]) -> Files:
    """Group the files of a shard by sample, without hidden files and webdataset's `__name__`."""
    files = Files()
    for member in members:
        folder, name = posixpath.split(posixpath.normpath(member.name))
        stem, _, suffix = name.partition(".")
        if member.refusal:
            files.refused.append(member)
        elif stem and not (stem.startswith("__") and stem.endswith("__")):
            sample = files.samples.setdefault(posixpath.join(folder, stem), {})
            if sample.setdefault(suffix.lower(), member) is not member:
                refusal = Refusal("duplicate_key", f"a second file of the name {member.name}")
                files.refused.append(member._replace(refusal=refusal))
    return files


def read_from_tar(stream: BinaryIO) -> Callable[[Member], bytes]:
    """A function that reads a file of a tar."""

    def read(member: Member) -> bytes:
        stream.seek(member.start)
        return stream.read(member.size)

    return read


def read_from_folder(url: str) -> Callable[[Member], bytes]:
    """A function that reads a text file of a folder, and raises Refusal where it cannot."""

    def read(member: Member) -> bytes:
        if not find_scheme(url):
            return read_contents(Path(url).expanduser(), member.name, LARGEST_TEXT)
        with open_file(join(url, member.name)) as stream:
            return stream.read(LARGEST_TEXT + 1)

    return read
