"""Pictures as they are named on a command line: files, folders, patterns, and - for stdin."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from captionseg.api.pictures import Pixels, read
from captionseg.images import LARGEST_FILE, SUFFIXES
from captionseg.records import UserError, one_line

STDIN = "-"


@dataclass(frozen=True)
class Source:
    """A picture to read.

    Attributes:
        path: its file; STDIN for stdin.
        listed: whether it was found in a folder or by a pattern, not named itself.
    """

    path: Path
    listed: bool = False

    @property
    def is_stdin(self) -> bool:
        """Whether it is read from stdin."""
        return str(self.path) == STDIN

    @property
    def stem(self) -> str:
        """Beginning of the names of its results."""
        return "stdin" if self.is_stdin else self.path.stem

    def read(self) -> Pixels:
        """Read it.

        Raises:
            UserError: see `captionseg.api.pictures.read`; if stdin is too large.
        """
        if not self.is_stdin:
            return read(self.path)
        data = sys.stdin.buffer.read(LARGEST_FILE + 1)
        if len(data) > LARGEST_FILE:
            raise UserError(f"stdin: more than {LARGEST_FILE // 2**20} MiB")
        return read(data, name="stdin")


def list_sources(words: Sequence[str]) -> list[Source]:
    """List the pictures that words name, each once, in their order; those of a folder by name.

    Args:
        words: files; folders, of which the pictures in them are meant, not those further below;
            patterns such as *.png or photos/**/*.jpg; and - for stdin.

    Raises:
        UserError: for a word that names no picture.
    """
    found: dict[str, Source] = {}
    for source in (source for word in words for source in expand(word)):
        # unlike Path.resolve, this takes links that lead to themselves
        key = STDIN if source.is_stdin else os.path.realpath(source.path)
        found.setdefault(key, source)
    return list(found.values())


def expand(word: str) -> Iterator[Source]:
    """Yield the pictures that one word names, see `list_sources`."""
    path = Path(word)
    if word == STDIN:
        yield Source(path)
    elif path.is_dir():
        files = [Path(entry.path) for entry in os.scandir(path) if entry.is_file()]
        pictures = sorted(file for file in files if is_picture(file))
        if not pictures:
            raise UserError(
                f"{one_line(word)}: no picture in this folder (.jpg, .png, .webp, ..); for those "
                f"of folders in it: '{one_line(path / '**' / '*.jpg')}'"
            )
        yield from (Source(picture, listed=True) for picture in pictures)
    elif path.exists() or not glob.has_magic(word):
        if not os.path.lexists(path):
            raise UserError(f"{one_line(word)}: no such file")
        yield Source(path)
    else:
        files = (Path(file) for file in glob.glob(word, recursive=True))
        pictures = sorted(file for file in files if is_picture(file) and file.is_file())
        if not pictures:
            raise UserError(f"{one_line(word)}: matches no picture")
        yield from (Source(picture, listed=True) for picture in pictures)


def is_picture(path: Path) -> bool:
    """Whether a file has the suffix of a picture, and is not hidden."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
