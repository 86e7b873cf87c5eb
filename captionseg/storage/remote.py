"""Files wherever they lie: on this machine, in s3:// and gs://, in memory://, in all that fsspec
knows.

Messages name a file without what opens it: passwords in a URL and its query are left out.
"""

from __future__ import annotations

import contextlib
import fnmatch
import gzip
import itertools
import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import fsspec

from captionseg.records import UserError, one_line

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
"""Scheme -> extra of this package that brings what reads it."""
LIBRARIES = {"aiobotocore", "aiohttp", "botocore", "gcsfs", "google", "pyarrow", "s3fs", "zlib"}
"""Their errors are not all of the kind OSError."""
BRACES = re.compile(r"\{([^{}]*)\}")
RANGE = re.compile(r"(\d+)\.\.(\d+)")
MOST = 1_000_000  # files that one pattern may name
AT_ONCE = 64  # files that are read together from a store


class MissingFile(UserError):
    """A file or folder that is not there."""


def find_scheme(url: str) -> str:
    """`s3` of s3://bucket/key; empty for a path of this machine."""
    found = SCHEME.match(url)
    return "" if found is None or found[1].lower() == "file" else found[1].lower()


def hide_secrets(url: object) -> str:
    """A URL, or a text with URLs in it, without passwords and queries; one line."""
    text = re.sub(r"(\w://)[^/\s@]*@", r"\1", str(url))
    return one_line(re.sub(r"(\w://[^\s?]*)\?[^\s'\")]*", r"\1?...", text), 300)


def join(url: str, *names: str) -> str:
    """A URL or path below another."""
    head = url if not url or url.endswith("://") else url.rstrip("/") + "/"
    return head + "/".join(names)


def open_store(url: str) -> tuple[Any, str]:
    """The file system of fsspec for a URL or path, and the path in it.

    Raises:
        UserError: where no package reads the scheme; with how to install one.
    """
    scheme = find_scheme(url)
    with explain_errors(url):
        if scheme:
            return fsspec.core.url_to_fs(url)
        path = os.path.expanduser(re.sub(r"^file://", "", url, flags=re.IGNORECASE))
        return fsspec.filesystem("file"), os.path.abspath(path)


@contextlib.contextmanager
def explain_errors(url: str) -> Iterator[None]:
    """Around whatever reads a file: what goes wrong there is one line that names it.

    Raises:
        MissingFile: where it is not there.
        UserError: for all else.
    """
    name = hide_secrets(url)
    try:
        yield
    except UserError:
        raise
    except ImportError:
        extra = EXTRAS.get(find_scheme(url))
        todo = f"pip install 'captionseg[{extra}]'" if extra else "install its package for fsspec"
        raise UserError(f"{name}: nothing here reads {find_scheme(url)}://; {todo}") from None
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFile(f"{name}: no such file or folder") from None
    except PermissionError:
        raise UserError(f"{name}: access is refused; check permissions or credentials") from None
    except Exception as error:
        library = type(error).__module__.partition(".")[0]
        if library not in LIBRARIES and not isinstance(error, OSError | EOFError | ValueError):
            raise
        if "Credentials" in type(error).__name__:
            raise UserError(f"{name}: no credentials are set for {find_scheme(url)}://") from None
        text = str(getattr(error, "strerror", None) or error)
        if secret := re.match(r"[^:/]+://([^/\s@]+)@", url):
            text = text.replace(secret[1], "...")
        reason = hide_secrets(text) or type(error).__name__
        raise UserError(f"{name}: cannot be read ({reason})") from None


@contextlib.contextmanager
def open_file(url: str) -> Iterator[BinaryIO]:
    """A file, open for reading bytes at any place.

    Raises:
        UserError: one line, where it cannot be opened or read; see `explain_errors`.
    """
    with explain_errors(url):
        store, path = open_store(url)
        with store.open(path, "rb") as stream:
            yield stream


@contextlib.contextmanager
def open_plain(url: str) -> Iterator[BinaryIO]:
    """A file as bytes, unpacked where its name ends in .gz."""
    with open_file(url) as stream:
        if not url.lower().endswith(".gz"):
            yield stream
            return
        with gzip.GzipFile(fileobj=stream) as plain:
            yield plain  # type: ignore[misc]


def list_entries(url: str) -> tuple[list[str], list[str]]:
    """Names of the files and of the folders right below a folder, each sorted; hidden ones are
    left out.

    Raises:
        UserError: see `explain_errors`.
    """
    store, path = open_store(url)
    with explain_errors(url):
        entries = store.ls(path, detail=True)
    files: list[str] = []
    folders: list[str] = []
    for entry in entries:
        name = posixpath.basename(entry["name"].rstrip("/"))
        if name and not name.startswith(".") and entry["name"].strip("/") != path.strip("/"):
            (folders if entry["type"] == "directory" else files).append(name)
    return sorted(files), sorted(folders)


def is_folder(url: str) -> bool:
    """Whether a folder is there."""
    store, path = open_store(url)
    with explain_errors(url):
        return bool(store.isdir(path))


def is_file(url: str) -> bool:
    """Whether a file is there."""
    store, path = open_store(url)
    with explain_errors(url):
        return bool(store.isfile(path))


def list_files(url: str, suffixes: tuple[str, ...] = ("",)) -> list[str]:
    """The files that a pattern names, in the order of their names.

    Args:
        url: a file, a folder (the files right in it), or a pattern: `*` and `?` in the last parts
            of a path, `{a,b}` and `{00000..00012}` anywhere, several joined by `::`.
        suffixes: of the files of a folder, in small letters.

    Raises:
        MissingFile: where a file that is named is not there, or a pattern names none.
        UserError: see `explain_errors`.
    """
    found: list[str] = []
    for pattern in itertools.chain.from_iterable(map(expand_braces, split_urls(url))):
        if re.search(r"[*?]", SCHEME.sub("", pattern)):
            files = match_files(pattern)
        elif is_folder(pattern):
            names, _ = list_entries(pattern)
            files = [join(pattern, name) for name in names if name.lower().endswith(suffixes)]
        elif is_file(pattern):
            files = [pattern]
        else:
            raise MissingFile(f"{hide_secrets(pattern)}: no such file or folder")
        if not files:
            kind = " or ".join(filter(None, suffixes)) or "file"
            raise MissingFile(f"{hide_secrets(pattern)}: no {kind} there")
        found += files
    return list(dict.fromkeys(found))


def split_urls(url: str) -> list[str]:
    """The parts of `a::b`, which img2dataset's and open_clip's users write for several places."""
    return [part for part in url.split("::") if part]


def expand_braces(pattern: str) -> list[str]:
    """Every text of a pattern with `{a,b}` or `{000..012}`, in order.

    Raises:
        UserError: for more than MOST.
    """
    found = BRACES.search(pattern)
    if not found:
        return [pattern]
    span = RANGE.fullmatch(found[1])
    if span:
        first, last, width = int(span[1]), int(span[2]), len(span[1])
        if last - first >= MOST:
            raise UserError(f"{hide_secrets(pattern)}: names more than {MOST:,} files")
        choices = [f"{number:0{width}d}" for number in range(first, last + 1)]
    else:
        choices = found[1].split(",")
    head, tail = pattern[: found.start()], expand_braces(pattern[found.end() :])
    if len(choices) * len(tail) > MOST:
        raise UserError(f"{hide_secrets(pattern)}: names more than {MOST:,} files")
    return [head + choice + rest for choice in choices for rest in tail]


def match_files(pattern: str) -> list[str]:
    """The files that a pattern with `*` and `?` names; each part of the path is matched by
    itself."""
    scheme = SCHEME.match(pattern)
    start = scheme.end() if scheme else 0
    parts = pattern[start:].split("/")
    first = next(i for i, part in enumerate(parts) if re.search(r"[*?]", part))
    places = [pattern[:start] + ("/".join(parts[:first]) or ("/" if parts[0] == "" else ""))]
    for depth, part in enumerate(parts[first:], first):
        last, inner = depth == len(parts) - 1, []
        for place in places:
            files, folders = list_entries(place or ".")
            names = fnmatch.filter(files if last else folders, part)
            inner += [join(place, name) for name in names]
        places = inner
    return places


def read_files(urls: Sequence[str], largest: int) -> Iterator[bytes | UserError]:
    """The bytes of each file, or why there are none; those of a store are read several at once.

    Args:
        urls: all in one store, or paths of this machine.
        largest: bytes; of a longer file one byte more is given, so that it can be told.
    """
    for start in range(0, len(urls), AT_ONCE):
        some = urls[start : start + AT_ONCE]
        try:
            stores = [open_store(url) for url in some]
            paths = [path for _, path in stores]
            found = stores[0][0].cat_ranges(paths, 0, largest + 1, on_error="return")
        except UserError as error:
            found = [error] * len(some)
        for url, data in zip(some, found, strict=True):
            yield data if isinstance(data, bytes) else _explain(url, data)


def read_ranges(url: str, ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
    """Parts of a file, from byte `start` to before `end`; those of a store several at once."""
    if not find_scheme(url):
        with open_file(url) as stream:
            for start, end in ranges:
                stream.seek(start)
                yield stream.read(end - start)
        return
    with explain_errors(url):
        store, path = open_store(url)
        for at in range(0, len(ranges), AT_ONCE):
            starts, ends = zip(*ranges[at : at + AT_ONCE], strict=True)
            yield from store.cat_ranges([path] * len(starts), list(starts), list(ends))


def _explain(url: str, error: BaseException) -> UserError:
    """The one line of what was raised for a file."""
    try:
        with explain_errors(url):
            raise error
    except UserError as line:
        return line
