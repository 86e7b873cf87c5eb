"""Your own pictures, each with its caption in a text file of the same name beside it.

Nothing is lost without a word: a picture or caption that cannot be taken keeps its row, with the reason. Hidden
files (a dot in front) and files that are neither picture nor caption are passed over. DVC does not watch the folder:
after changing it run `dvc repro --force download`, or add it to the stage's deps.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from captionseg.datasets.source import FAILED_TO_DOWNLOAD, FAILED_TO_RESIZE, SPLITS, Sample
from captionseg.records import ClassTable, UserError, one_line
from captionseg.typed import Count, Share

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")  # Pillow has decoders that start programs
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".avif",
            ".heic", ".heif")  # fmt: skip
MAGIC = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n|GIF8|RIFF....WEBP|II\*\0|MM\0\*|....ftypavif", re.DOTALL)
TURNS = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270", 7: "TRANSVERSE",
         8: "ROTATE_90"}  # fmt: skip
SMALLEST_SIDE = 16  # pixels; below it no encoder sees anything
LARGEST_PICTURE = 256 * 2**20  # bytes
LARGEST_CAPTION = 2**20  # bytes


class Refused(Exception):
    """Why a file is not taken."""


@dataclass(frozen=True)
class Row:
    """A picture as the listing found it: path below the root, the hash of its bytes, or the error instead."""

    path: str
    caption: str = ""
    sha256: str = ""
    error: str | None = None


@dataclass(frozen=True)
class Folder:
    """Fields of `download.folder`.

    Attributes:
        root: the folder; pictures are searched for in its subfolders too.
        tune, test: shares of the pictures. The hash of its bytes decides where a picture goes, so it stays there
            when others come or go.
        max_side: a picture's longer side is shrunk to so many pixels; smaller ones stay as they are.
        caption_suffix: what a caption's file name has in place of the picture's suffix.
        listing: no parameter; hash of what was found, set by `prepare`.
    """

    root: str = ""
    tune: Share = 0.1
    test: Share = 0.1
    max_side: Count = 512
    caption_suffix: str = ".txt"
    listing: str = field(default="", init=False)

    def __post_init__(self) -> None:
        if min(self.tune, self.test) < 0 or self.tune + self.test > 1:
            raise ValueError("tune and test are shares, 0 to 1 together")
        if self.max_side < SMALLEST_SIDE:
            raise ValueError(f"max_side must be at least {SMALLEST_SIDE}, found {self.max_side}")
        if not self.caption_suffix.startswith(".") or self.caption_suffix.lower() in SUFFIXES:
            raise ValueError(f"caption_suffix needs a dot and must not be a picture's, found {self.caption_suffix!r}")

    @cached_property
    def rows(self) -> dict[str, list[Row]]:
        """All rows by split, in the order of their paths; read once, then pickled with the source."""
        rows: dict[str, list[Row]] = {split: [] for split in SPLITS}
        for row in listing(self.root, self.caption_suffix):
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
        return [self.sample(split, self.rows[split][number]) for number in numbers]

    def sample(self, split: str, row: Row) -> Sample:
        """The picture of a row, re-encoded, or why there is none."""
        url = row.path.encode("utf-8", "backslashreplace").decode()  # a name that is no UTF-8 fits into no table
        status, error = FAILED_TO_DOWNLOAD, row.error
        try:
            if row.error is None:
                data = contents(Path(self.root).expanduser(), row.path, LARGEST_PICTURE)
                if hashlib.sha256(data).hexdigest() != row.sha256:
                    raise Refused("changed while the folder was being read")
                status = FAILED_TO_RESIZE
                jpeg, (width, height) = encode(data, self.max_side)
                return Sample(url, row.caption, split, jpeg, width, height)
        except Refused as reason:
            error = str(reason)
        return Sample(url, row.caption, split, status=status, error=error)


def listing(root: str, caption_suffix: str) -> list[Row]:
    """Every picture below root and every caption without one, ordered by path.

    A picture whose bytes were already taken from another path is refused; one whose earlier copy was refused is not.
    """
    top, rows, taken = Path(root).expanduser(), [], {}
    if not root or not top.is_dir():
        raise UserError(f"download.folder.root: {root!r} is no folder; give the one with your pictures and captions")
    for path, caption, error in tqdm(sorted(files(top, caption_suffix)), desc="listing", unit="file"):
        row = Row(path, error=error) if error else look(top, path, caption)
        if row.error is None and (first := taken.setdefault(row.sha256, path)) != path:
            row = Row(path, row.caption, row.sha256, one_line(f"duplicate of {first}"))
        rows.append(row)
    if rows:
        return rows
    raise UserError(f"download.folder.root: {root!r} holds no picture; put pictures and captions there")


def files(top: Path, caption_suffix: str) -> Iterator[tuple[str, str, str]]:
    """(path, path of its caption or "", error or "") of pictures, captions without one, and folders not entered."""
    refused: list[OSError] = []
    for folder, inner, names in os.walk(top, onerror=refused.append):
        below = os.path.relpath(folder, top)
        base = "" if below == "." else below + "/"
        visible = {name for name in names if not name.startswith(".")}
        captions = {name[: -len(caption_suffix)]: name for name in sorted(visible)
                    if name.lower().endswith(caption_suffix.lower())}  # fmt: skip
        pictures = [name for name in visible - set(captions.values()) if is_picture(os.path.join(folder, name))]
        stems = {os.path.splitext(name)[0] for name in pictures}
        for name in pictures:
            caption = captions.get(os.path.splitext(name)[0])
            yield base + name, base + caption if caption else "", ""
        for stem in captions.keys() - stems:
            yield base + captions[stem], "", "a caption without a picture beside it"
        inner[:] = [name for name in inner if not name.startswith(".")]
        for name in inner:
            if os.path.islink(os.path.join(folder, name)):
                yield base + name, "", "a symbolic link to a folder, not followed"
    for error in refused:
        yield os.path.relpath(error.filename, top), "", one_line(f"folder cannot be read: {error.strerror}")


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


def look(top: Path, path: str, caption: str) -> Row:
    """A row from a picture and its caption's path."""
    text = digest = ""
    try:
        data = contents(top, path, LARGEST_PICTURE)
        digest = hashlib.sha256(data).hexdigest()
        if not caption:
            raise Refused("caption missing: no text file of the same name beside it")
        text = read_caption(contents(top, caption, LARGEST_CAPTION, what="caption "))
        return Row(path, text, digest, None if data else "empty file")
    except Refused as refused:
        return Row(path, text, digest, str(refused))


def contents(top: Path, path: str, largest: int, *, what: str = "") -> bytes:
    """The bytes of a regular file inside root.

    Raises:
        Refused: for a link that leads out of root, a pipe or device, a file that is too large or cannot be read.
    """
    file = os.path.join(top, path)
    try:
        if os.path.islink(file) and not Path(os.path.realpath(file)).is_relative_to(os.path.realpath(top)):
            raise Refused(f"{what}symbolic link leads out of the folder")
        info = os.stat(file)
        if not stat.S_ISREG(info.st_mode):
            raise Refused(f"{what}not a regular file")
        if info.st_size > largest:
            raise Refused(f"{what}file larger than {largest // 2**20} MiB")
        with open(file, "rb") as stream:
            return stream.read()
    except OSError as error:
        raise Refused(one_line(f"{what}cannot be read: {error.strerror or error}")) from None


def read_caption(data: bytes) -> str:
    """UTF-8 text on one line; line breaks and other control characters count as spaces.

    Raises:
        Refused: where it is no UTF-8, or empty.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Refused("caption is not UTF-8") from None
    text = re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", text).strip()
    if not text:
        raise Refused("caption is empty")
    return text


def encode(data: bytes, longest: int) -> tuple[bytes, tuple[int, int]]:
    """JPEG bytes and (width, height) of any picture: first frame, upright, 8-bit RGB on white, shrunk to `longest`.

    Raises:
        Refused: where it cannot be decoded, or would be too small.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on odd metadata; above Pillow's hard limit of pixels it is an error
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                target = shrunk(image.size, longest)
                image.draft(None, (2 * target[0], 2 * target[1]))  # JPEG only: decode no finer than is needed
                image.load()
                image = opaque(upright(image))
            image = image.resize(shrunk(image.size, longest), Image.Resampling.LANCZOS)
        except Exception as error:  # on hostile bytes Pillow's decoders raise anything
            unknown = isinstance(error, Image.UnidentifiedImageError)  # its text holds a memory address
            raise Refused("cannot be decoded: " + ("no known format" if unknown else one_line(str(error)))) from None
    if min(image.size) < SMALLEST_SIDE:
        raise Refused(f"too small: {image.width} x {image.height} pixels, at least {SMALLEST_SIDE} are needed")
    image.info = {}  # comments would be written too
    image.save(stream := io.BytesIO(), "JPEG", quality=92)
    return stream.getvalue(), image.size


def shrunk(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """A size of the same ratio whose longer side is at most `longest`."""
    scale = min(1.0, longest / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF orientation says; as it is where that cannot be read."""
    try:
        turn = TURNS.get(image.getexif().get(0x0112, 1))
    except Exception:  # metadata only: the pixels were decoded before
        turn = None
    return image.transpose(Image.Transpose[turn]) if turn else image


def opaque(image: Image.Image) -> Image.Image:
    """8-bit RGB: what is transparent becomes white, of 16 bits the upper 8 stay."""
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range")
    if image.mode.startswith("I"):
        pixels = np.asarray(image)
        if pixels.min() < 0 or pixels.max() > 65535:
            raise ValueError("32-bit pixels have no known range")
        image = Image.fromarray((pixels >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
