"""Your own pictures, each with its captions in a text file of the same name beside it, a line each.

Nothing is lost without a word: a picture or caption that cannot be taken keeps its row, with the
reason. Hidden files (a dot in front) and files that are neither picture nor caption are passed
over. DVC does not watch the folder: after changing it run `dvc repro --force download`, or add it
to the stage's deps.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
import stat
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from PIL import Image
from tqdm import tqdm

from captionseg import images
from captionseg.images import shrink_size
from captionseg.records import ClassTable, UserError, one_line
from captionseg.sources.captions import NoCaption, read_captions
from captionseg.sources.source import FAILED_TO_DOWNLOAD, FAILED_TO_RESIZE, SPLITS, Sample
from captionseg.typed import Count, Share

log = logging.getLogger(__name__)

SUFFIXES = (*images.SUFFIXES, ".heic", ".heif")  # HEIC is refused, with the reason
MAGIC = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|GIF8|RIFF....WEBP|II\*\0|MM\0\*|....ftypavif", re.DOTALL
)
SMALLEST_SIDE = 16  # pixels; below it no encoder sees anything
LARGEST_PICTURE = 256 * 2**20  # bytes
LARGEST_CAPTION = 2**20  # bytes


class RefusedFile(Exception):
    """Why a file is not taken."""


@dataclass(frozen=True)
class Row:
    """A picture as the listing found it: path below the root, the hash of its bytes, or the error
    instead.
    """

    path: str
    caption: str = ""
    sha256: str = ""
    error: str | None = None


@dataclass(frozen=True)
class Folder:
    """Fields of `download.folder`.

    Attributes:
        root: the folder; pictures are searched for in its subfolders too.
        tune, test: shares of the pictures. The hash of its bytes decides where a picture goes, so
            it stays there when others come or go.
        max_side: a picture's longer side is shrunk to so many pixels; smaller ones stay as they
            are.
        caption_suffix: what a caption's file name has in place of the picture's suffix, or after
            it.
        caption_lines: whether the lines of a file are captions of their own (`separate`), each of
            which makes a pair with the picture, or one (`joined`). All pairs of a picture are in
            the same split.
        listing: no parameter; hash of what was found, set by `prepare`.
    """

    root: str = ""
    tune: Share = 0.1
    test: Share = 0.1
    max_side: Count = 512
    caption_suffix: str = ".txt"
    caption_lines: Literal["separate", "joined"] = "separate"
    listing: str = field(default="", init=False)

    def __post_init__(self) -> None:
        if min(self.tune, self.test) < 0 or self.tune + self.test > 1:
            raise ValueError("tune and test are shares, 0 to 1 together")
        if self.max_side < SMALLEST_SIDE:
            raise ValueError(f"max_side must be at least {SMALLEST_SIDE}, found {self.max_side}")
        if not self.caption_suffix.startswith(".") or self.caption_suffix.lower() in SUFFIXES:
            raise ValueError(
                "caption_suffix needs a dot and must not be a picture's, found "
                f"{self.caption_suffix!r}"
            )

    @cached_property
    def rows(self) -> dict[str, list[Row]]:
        """All rows by split, in the order of their paths; read once, then pickled with the
        source."""
        rows: dict[str, list[Row]] = {split: [] for split in SPLITS}
        for row in list_rows(self.root, self.caption_suffix, joined=self.caption_lines == "joined"):
            rows[self.split_of(row)].append(row)
        return rows

    def split_of(self, row: Row) -> str:
        """By the hash of a picture's bytes, or of its path where it could not be read."""
        digest = row.sha256 or hashlib.sha256(os.fsencode(row.path)).hexdigest()
        share = int(digest[:12], 16) / 16**12
        return "test" if share < self.test else "tune" if share < self.test + self.tune else "train"

    def prepare(self) -> None:
        """Read and hash all files once, so that every process has the same listing.

        Raises:
            UserError: where root is not set, no folder, or has no picture.
        """
        found = repr(self.rows).encode()
        object.__setattr__(self, "listing", hashlib.sha256(found).hexdigest()[:16])

    def splits(self) -> dict[str, int]:
        """See Source."""
        return {split: len(self.rows[split]) for split in SPLITS}

    def classes(self) -> ClassTable:
        """See Source: no truth is known."""
        return ClassTable((), ())

    def licences(self) -> str:
        """See Source: none is known."""
        return ""

    def samples(self, split: str, numbers: Sequence[int], *, seed: int) -> list[Sample]:
        """See Source; the seed decides nothing."""
        found: list[Sample] = []
        before = None
        for row in (self.rows[split][number] for number in numbers):
            same = (
                before is not None and before.path == row.path and before.error is row.error is None
            )
            found.append(
                replace(found[-1], caption=row.caption) if same else self.sample(split, row)
            )
            before = row
        return found

    def sample(self, split: str, row: Row) -> Sample:
        """The picture of a row, re-encoded, or why there is none."""
        url = row.path.encode(
            "utf-8", "backslashreplace"
        ).decode()  # a name that is no UTF-8 fits into no table
        status, error = FAILED_TO_DOWNLOAD, row.error
        try:
            if row.error is None:
                data = read_contents(Path(self.root).expanduser(), row.path, LARGEST_PICTURE)
                if hashlib.sha256(data).hexdigest() != row.sha256:
                    raise RefusedFile("changed while the folder was being read")
                status = FAILED_TO_RESIZE
                jpeg, (width, height) = encode_picture(data, self.max_side, name=url)
                return Sample(url, row.caption, split, jpeg, width, height)
        except RefusedFile as reason:
            error = str(reason)
        return Sample(url, row.caption, split, status=status, error=error)


def list_rows(root: str, caption_suffix: str, *, joined: bool = False) -> list[Row]:
    """Every picture below root with each of its captions, and every caption without one, ordered by
    path.

    A picture whose bytes were already taken from another path is refused; one whose earlier copy
    was refused is not.
    """
    top, rows, taken, several = Path(root).expanduser(), [], {}, 0
    if not root or not top.is_dir():
        raise UserError(
            f"download.folder.root: {root!r} is no folder; give the one with your pictures and "
            "captions"
        )
    for path, caption, error in tqdm(
        sorted(walk_files(top, caption_suffix)), desc="listing", unit="file"
    ):
        found = [Row(path, error=error)] if error else read_rows(top, path, caption, joined=joined)
        several += sum(row.error is None for row in found) > 1
        for row in found:
            if row.error is None and (first := taken.setdefault(row.sha256, path)) != path:
                row = Row(path, row.caption, row.sha256, one_line(f"duplicate of {first}"))
            rows.append(row)
    if several:
        log.warning(
            "download.folder: of %d pictures the captions have several lines; each line is a "
            "caption of its own (caption_lines: joined makes one of them)",
            several,
        )
    if rows:
        return rows
    raise UserError(
        f"download.folder.root: {root!r} holds no picture; put pictures and captions there"
    )


def walk_files(top: Path, caption_suffix: str) -> Iterator[tuple[str, str, str]]:
    """(path, path of its caption or "", error or "") of pictures, captions without one, and folders
    not entered.
    """
    refused: list[OSError] = []
    for folder, inner, names in os.walk(top, onerror=refused.append):
        below = os.path.relpath(folder, top)
        base = "" if below == "." else below + "/"
        visible = {name for name in names if not name.startswith(".")}
        captions = [
            name for name in sorted(visible) if name.lower().endswith(caption_suffix.lower())
        ]
        pictures = [
            name
            for name in sorted(visible - set(captions))
            if is_picture(os.path.join(folder, name))
        ]
        for name, caption, error in pair_files(pictures, captions, caption_suffix):
            yield base + name, base + caption if caption else "", error
        inner[:] = [name for name in inner if not name.startswith(".")]
        for name in inner:
            if os.path.islink(os.path.join(folder, name)):
                yield base + name, "", "a symbolic link to a folder, not followed"
    for error in refused:
        yield (
            os.path.relpath(error.filename, top),
            "",
            one_line(f"folder cannot be read: {error.strerror}"),
        )


def pair_files(
    pictures: Sequence[str], captions: Sequence[str], suffix: str
) -> Iterator[tuple[str, str, str]]:
    """(picture or caption, its caption or "", error or "") of the names in one folder.

    The caption of photo.png is photo.png.txt, else photo.txt; letters with marks may be composed or
    not, and where nothing else fits, capital letters make no difference. A caption is of one
    picture.
    """
    files: dict[str, list[str]] = {}
    for name in captions:
        stem = unicodedata.normalize("NFC", name[: -len(suffix)])
        files.setdefault(stem, []).append(name)
        files.setdefault("/" + stem.casefold(), []).append(name)
    owner: dict[str, str] = {}
    claims = {name: claim_captions(name, files, "") for name in pictures}
    for name in [*filter(claims.get, pictures), *(name for name in pictures if not claims[name])]:
        found = claims[name] or claim_captions(name, files, "/")
        if len(found) > 1:
            owner.update(dict.fromkeys(found, name))
            yield name, "", one_line(f"several captions, {' and '.join(found)}; leave one")
        elif found and (first := owner.setdefault(found[0], name)) != name:
            yield (
                name,
                "",
                one_line(
                    f"its caption {found[0]} is of {first} too; give it one of its own, "
                    f"{name}{suffix}"
                ),
            )
        else:
            yield name, found[0] if found else "", ""
    for name in captions:
        if name not in owner:
            yield name, "", "a caption without a picture beside it"


def claim_captions(picture: str, files: Mapping[str, list[str]], kind: str) -> list[str]:
    """The captions that are a picture's by its name: `files` by stem; with `kind` / capital letters
    do not matter.
    """
    for stem in (picture, os.path.splitext(picture)[0]):
        stem = unicodedata.normalize("NFC", stem)
        if found := files.get(kind + (stem.casefold() if kind else stem)):
            return found
    return []


def is_picture(path: str) -> bool:
    """By its suffix, or by its first bytes."""
    if path.lower().endswith(SUFFIXES):
        return True
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for ever
            return False
        with open(path, "rb") as stream:
            return MAGIC.match(stream.read(16)) is not None
    except OSError:
        return False


def read_rows(top: Path, path: str, caption: str, *, joined: bool = False) -> list[Row]:
    """Rows from a picture and its captions' path: one for each caption, and one for those that are
    refused.
    """
    digest = ""
    try:
        data = read_contents(top, path, LARGEST_PICTURE)
        digest = hashlib.sha256(data).hexdigest()
        if not caption:
            raise RefusedFile("caption missing: no text file of the same name beside it")
        texts, refused = read_captions(
            read_contents(top, caption, LARGEST_CAPTION, what="caption "), joined=joined
        )
        rows = [
            Row(path, text, digest, None if data else "empty file")
            for text in texts[: None if data else 1]
        ]
        return [*rows, Row(path, "", digest, refused)] if refused and data else rows
    except (RefusedFile, NoCaption) as reason:
        return [Row(path, "", digest, str(reason))]


def read_contents(top: Path, path: str, largest: int, *, what: str = "") -> bytes:
    """The bytes of a regular file inside root.

    Raises:
        Refused: for a link that leads out of root, a pipe or device, a file that is too large or
            cannot be read.
    """
    file = os.path.join(top, path)
    try:
        if os.path.islink(file) and not Path(os.path.realpath(file)).is_relative_to(
            os.path.realpath(top)
        ):
            raise RefusedFile(f"{what}symbolic link leads out of the folder")
        info = os.stat(file)
        if not stat.S_ISREG(info.st_mode):
            raise RefusedFile(f"{what}not a regular file")
        if info.st_size > largest:
            raise RefusedFile(f"{what}file larger than {largest // 2**20} MiB")
        with open(file, "rb") as stream:
            return stream.read()
    except OSError as error:
        raise RefusedFile(one_line(f"{what}cannot be read: {error.strerror or error}")) from None


def encode_picture(data: bytes, longest: int, *, name: str = "") -> tuple[bytes, tuple[int, int]]:
    """JPEG bytes and (width, height) of any picture that `images.open_image` reads, shrunk to
    `longest`.

    Raises:
        Refused: where it cannot be decoded, or would be too small.
    """
    try:
        image = images.open_image(data, longest=longest, name=name)
    except images.Unreadable as error:
        raise RefusedFile(f"cannot be decoded: {error}") from None
    image = image.resize(shrink_size(image.size, longest), Image.Resampling.LANCZOS)
    if min(image.size) < SMALLEST_SIDE:
        raise RefusedFile(
            f"too small: {image.width} x {image.height} pixels, at least {SMALLEST_SIDE} are needed"
        )
    image.info = {}  # comments would be written too
    image.save(stream := io.BytesIO(), "JPEG", quality=92)
    return stream.getvalue(), image.size
