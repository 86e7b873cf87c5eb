"""The only module that opens picture files, for download, segment, evaluate and shards.

The content of a file determines its format, not its name. Only FORMATS are tried, because some of
Pillow's readers start programs (EPS) or rely on the system (WMF). Of several frames the first is
used. Pictures are turned upright according to EXIF and converted to 8-bit RGB, see captionseg.rgb.
"""

from __future__ import annotations

import io
import os
import re
import stat
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from captionseg.records import one_line
from captionseg.rgb import STRETCH, WHITE_IS_ZERO, read_tag, to_rgb, warn_once

T = TypeVar("T")

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".webp",
    ".gif",
    ".bmp",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".avif",
)
"""Suffixes of files of these formats, in lower case."""
MASK_FORMATS = ("PNG", "TIFF")  # JPEG would change class numbers
LARGEST_FILE = 256 * 2**20  # bytes
TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
ORIENTATION = 0x0112  # tag of EXIF


class Unreadable(Exception):
    """A file is not a readable picture; one line that is the same at every attempt."""


class TooManyPixels(Unreadable):
    """A picture that is not decoded, because it would need too much memory."""


def read_contents(path: Path | str, *, largest: int | None = None) -> bytes:
    """Read a regular file.

    Args:
        path: its path.
        largest: size limit in bytes; None means LARGEST_FILE.

    Raises:
        Unreadable: for a folder, a pipe or a device (reading one may never end), for an empty file,
            and one that is too large or cannot be read.
    """
    largest = LARGEST_FILE if largest is None else largest
    try:
        info = os.stat(path)
        if not stat.S_ISREG(info.st_mode):
            raise Unreadable("a folder" if stat.S_ISDIR(info.st_mode) else "not a regular file")
        if info.st_size > largest:
            raise Unreadable(f"file larger than {largest // 2**20} MiB")
        with open(path, "rb") as stream:
            content = stream.read()
    except FileNotFoundError:
        raise Unreadable("no such file") from None
    except (OSError, ValueError) as error:  # ValueError: an invalid file name
        raise Unreadable(one_line(getattr(error, "strerror", None) or error)) from None
    if not content:
        raise Unreadable("empty file")
    return content


def open_image(data: bytes, *, longest: int | None = None, name: str = "") -> Image.Image:
    """Decode a picture, upright, in mode RGB.

    Args:
        data: content of the file.
        longest: side in pixels that the caller needs: a JPEG is decoded at no more than twice this
            size.
        name: name of the file, for warnings about several frames and almost black 16-bit grey.

    Raises:
        Unreadable: not a picture, damaged, too many pixels, or pixels of unknown range.
    """
    return open_with_size(data, longest=longest, name=name)[0]


def open_with_size(
    data: bytes, *, longest: int | None = None, name: str = ""
) -> tuple[Image.Image, tuple[int, int]]:
    """Return the result of `open_image`, and (width, height) of the upright picture in the file."""
    return _decode_safely(lambda: _decode_picture(data, longest, name))


def is_plain_jpeg(data: bytes) -> bool:
    """Whether a picture that can be decoded is a JPEG of RGB pixels that stand upright."""

    def look() -> bool:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return image.format == "JPEG" and image.mode == "RGB" and _read_orientation(image) == 1

    return _decode_safely(look)


def is_turned(path: Path) -> bool:
    """Whether `open_image` turns a picture, because of its EXIF orientation; only its head is read.
    False for a file that cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as image:
                return _read_orientation(image) != 1
    except Exception:  # said by `open_image`
        return False


def read_pixels(data: bytes, *, name: str = "") -> np.ndarray:
    """Decode a picture to uint8 [H, W, 3]; see `open_image`."""
    return np.array(open_image(data, name=name))


def read_mask(data: bytes) -> tuple[str, np.ndarray]:
    """Decode a mask; return its mode in Pillow and its stored values, upright as its picture is,
    [H, W] or [H, W, channels].

    Raises:
        Unreadable: not PNG or TIFF, damaged, too large, or several pages.
    """
    return _decode_safely(lambda: _decode_mask(data))


def _decode_safely(make: Callable[[], T]) -> T:
    """Run a decoder and convert all its errors to Unreadable."""
    with warnings.catch_warnings():
        # about odd metadata, and about many pixels, which are checked here
        warnings.simplefilter("ignore")
        try:
            return make()
        except Unreadable:
            raise
        except Image.DecompressionBombError as error:  # raised on opening, at twice the limit
            raise make_size_error(re.sub(r"\D*(\d+).*", r"\1", str(error))) from None
        except Image.UnidentifiedImageError:  # its message contains a memory address
            raise Unreadable("no known format") from None
        except Exception as error:  # Pillow's decoders raise anything on malformed data
            raise Unreadable(one_line(error) or type(error).__name__) from None


def _decode_picture(
    data: bytes, longest: int | None, name: str
) -> tuple[Image.Image, tuple[int, int]]:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        check_size(image)
        raw, tags = read_raw_mode(image), getattr(image, "tag_v2", {})
        whole = image.size
        if longest is not None:
            width, height = shrink_size(image.size, longest)
            image.draft(None, (2 * width, 2 * height))
        image.load()
        # the second picture of a camera is a preview
        if image.format != "MPO" and _is_one_of_several(image):
            warn_once("frames", f"{name}: has several frames or pages; only the first is used")
        upright = turn_upright(image)
        size = upright.size
        if image.size != whole:  # a JPEG that was decoded at less than its size
            size = (whole[1], whole[0]) if _read_orientation(image) > 4 else whole
        return to_rgb(upright, raw, tags=tags, name=name), size


def _decode_mask(data: bytes) -> tuple[str, np.ndarray]:
    with Image.open(io.BytesIO(data), formats=MASK_FORMATS) as image:
        check_size(image)
        raw, tags = read_raw_mode(image), getattr(image, "tag_v2", {})
        image.load()
        content = np.array(turn_upright(image))
        if _is_one_of_several(image):
            raise Unreadable("has several frames or pages; save only one")
        if image.mode != "P" and read_tag(tags, WHITE_IS_ZERO) == 0:
            raise Unreadable("its values are stored inverted (WhiteIsZero); save it as PNG")
        return image.mode, content // STRETCH[raw] if raw in STRETCH else content


def check_size(image: Image.Image) -> None:
    """Refuse pictures above Pillow's pixel limit, before decoding.

    Raises:
        Unreadable: with the limit.
    """
    if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        raise make_size_error(image.width * image.height)


def make_size_error(count: int | str) -> TooManyPixels:
    """Return the error for too many pixels, with the limit."""
    most = Image.MAX_IMAGE_PIXELS
    return TooManyPixels(
        f"Image size ({count} pixels) exceeds limit (a decompression bomb?): more than {most} "
        "pixels; shrink it first"
    )


def shrink_size(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Return a size with the same aspect ratio and a longer side of at most `longest`."""
    scale = min(1.0, longest / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def read_raw_mode(image: Image.Image) -> str:
    """Return the raw mode of a file before decoding, such as `L;2`; empty if Pillow has none."""
    args = image.tile[0][3] if getattr(image, "tile", None) else ""  # type: ignore[attr-defined]
    return str(args[0] if isinstance(args, tuple) and args else args)


def _is_one_of_several(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # damaged after the first frame, which was decoded
        return False


def turn_upright(image: Image.Image) -> Image.Image:
    """Rotate a picture according to its EXIF orientation; unreadable metadata are ignored."""
    turn = TURNS.get(_read_orientation(image))
    return image.transpose(Image.Transpose[turn]) if turn else image


def _read_orientation(image: Image.Image) -> int:
    """Return the orientation as in EXIF, from 1 (upright) to 8; 1 if it cannot be read."""
    try:
        number = int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # metadata only; the pixels can be decoded anyway
        return 1
    return number if number in TURNS else 1
