"""Image files below a folder, local or in a store: their paths, and their content."""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from captionseg import images
from captionseg.images import LARGEST_FILE
from captionseg.records import UserError
from captionseg.sources.reasons import Refusal
from captionseg.storage.remote import MissingFile, find_scheme, is_file, join, read_files

NUMBERED = re.compile(r"(.*\.\w{3,4})#\d+")
"""An image and the number of its caption, as in Flickr8k.token.txt."""
DRIVE = re.compile(r"[A-Za-z]:/")


def tidy_path(name: str, base: str, root: str) -> str:
    """The normalised path of an image below a folder.

    Args:
        name: as in a table: relative to `base`, or an absolute path or URL below `root`.
        base: path below root; may be empty.
        root: folder of the images.

    Raises:
        Refusal: if it leads out of root.
    """
    path = re.sub("^file://", "", name.replace("\\", "/"), flags=re.IGNORECASE)
    if numbered := NUMBERED.fullmatch(path):
        path = numbered[1]
    is_absolute = find_scheme(path) or path.startswith("/") or DRIVE.match(path)
    roots = [root] if find_scheme(root) else [root, os.path.abspath(os.path.expanduser(root))]
    prefixes = [start for start in (join(folder, "") for folder in roots) if path.startswith(start)]
    if is_absolute and prefixes:
        path = path[len(prefixes[0]) :]
    elif find_scheme(path):
        raise Refusal("unsafe_path", "not below the folder of the pictures; source urls reads URLs")
    elif is_absolute:
        raise Refusal("unsafe_path", "not below the folder of the pictures")
    else:
        path = posixpath.join(base, path)
    path = posixpath.normpath(path)
    if path.split("/")[0] in ("..", ".") or "\0" in path:
        raise Refusal("unsafe_path", "leads out of the folder of the pictures")
    return path


def find_folder(names: Sequence[str], folders: Sequence[str]) -> str | None:
    """The first folder that has one of the files; None if none has."""
    for folder in folders:
        if any(is_file(join(folder, name)) for name in names):
            return folder
    return None


def read_pictures(root: str, paths: Sequence[str]) -> Iterator[bytes | Refusal]:
    """Yield the content of image files, or why there is none.

    Args:
        root: folder, local or in a store; files of a store are read several at once.
        paths: below it.
    """
    if not find_scheme(root):
        top = Path(root).expanduser()
        for path in paths:
            try:
                yield check_size(read_local(top, path))
            except Refusal as refusal:
                yield refusal
        return
    for content in read_files([join(root, path) for path in paths], LARGEST_FILE):
        try:
            if isinstance(content, MissingFile):
                raise Refusal("no_picture", "no such file")
            if isinstance(content, UserError):
                raise Refusal("unreadable_file", str(content).partition(": ")[2])
            yield check_size(content)
        except Refusal as refusal:
            yield refusal


def read_local(top: Path, path: str) -> bytes:
    """Read a regular file below a local folder.

    Raises:
        Refusal: if it does not exist, leads out of the folder, is too large or cannot be read.
    """
    if not os.path.lexists(top / path):
        raise Refusal("no_picture", "no such file")
    return read_contents(top, path, LARGEST_FILE)


def check_size(data: bytes) -> bytes:
    """Return the same bytes.

    Raises:
        Refusal: for no bytes, or more than LARGEST_FILE.
    """
    if not data:
        raise Refusal("empty", "empty file")
    if len(data) > LARGEST_FILE:
        raise Refusal("too_large", f"file larger than {LARGEST_FILE // 2**20} MiB")
    return data


def add_suffix(name: str, suffix: str) -> str:
    """Add a suffix to a name that has none of an image file."""
    return name if not suffix or name.lower().endswith(SUFFIXES) else name + suffix


SUFFIXES = (*images.SUFFIXES, ".heic", ".heif")  # HEIC is refused, with the reason


MAGIC = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|GIF8|RIFF....WEBP|II\*\0|MM\0\*|....ftypavif", re.DOTALL
)


def is_picture(path: str) -> bool:
    """Whether a file is an image, by its suffix or its first bytes."""
    if path.lower().endswith(SUFFIXES):
        return True
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for ever
            return False
        with open(path, "rb") as stream:
            return MAGIC.match(stream.read(16)) is not None
    except OSError:
        return False


def read_contents(top: Path, path: str, largest: int, *, what: str = "") -> bytes:
    """Read a regular file.

    Args:
        top: folder that it must be in.
        path: below it.
        largest: size limit in bytes.
        what: prefix for messages, such as "caption ".

    Raises:
        Refusal: for a link that leads out of the folder, a pipe or device, a file that is too large
            or cannot be read.
    """
    file = os.path.join(top, path)
    try:
        if os.path.islink(file) and not Path(os.path.realpath(file)).is_relative_to(
            os.path.realpath(top)
        ):
            raise Refusal("unsafe_path", f"{what}symbolic link leads out of the folder")
        info = os.stat(file)
        if not stat.S_ISREG(info.st_mode):
            raise Refusal("unreadable_file", f"{what}not a regular file")
        if info.st_size > largest:
            raise Refusal("too_large", f"{what}file larger than {largest // 2**20} MiB")
        with open(file, "rb") as stream:
            return stream.read()
    except OSError as error:
        text = f"{what}cannot be read: {error.strerror or error}"
        raise Refusal("unreadable_file", text) from None
