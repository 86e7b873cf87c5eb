"""The one place where picture files are opened, whoever gives them: download, segment, evaluate and
shards.

What a file is, its content says, not its name. Only FORMATS are tried, for Pillow has readers that
start programs (EPS) or leave the work to the system (WMF). Pictures come out as 8-bit RGB,
everywhere alike:

- upright, as EXIF says; the first frame of several;
- what is transparent is white;
- of 16-bit grey the upper 8 bits stay; floating-point and signed pixels, 32-bit ones beyond 0 to
  65535 and CIELab are refused, for nobody knows what white is there;
- colour profiles (ICC) are not applied, as hardly any training or test data of the field have them
  applied.
"""

from __future__ import annotations

import io
import logging
import os
import re
import stat
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from captionseg.records import one_line

log = logging.getLogger(__name__)
T = TypeVar("T")

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
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
MODES = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"}
"""Modes of Pillow whose colours are known, beside 16-bit grey (`I` and `I;16..`)."""
# 16-bit grey that stays below it is more likely 12 bits in 16 than a picture taken at night
DARK = 2**12
STRETCH = {"L;2": 85, "L;4": 17}  # what Pillow multiplies grey of few bits by
WARNED: set[str] = set()  # kinds of warnings that were given
# tags of TIFF and EXIF
ORIENTATION, BITS, WHITE_IS_ZERO, EXTRA_SAMPLES, SAMPLE_FORMAT = (0x0112, 258, 262, 338, 339)


class Unreadable(Exception):
    """Why a file gives no picture: one line, the same whenever it is tried."""


class TooManyPixels(Unreadable):
    """A picture that is not decoded, for it would take too much memory."""


def read_contents(path: Path | str, *, largest: int | None = None) -> bytes:
    """The bytes of a regular file.

    Args:
        path: of the file.
        largest: number of bytes; None takes LARGEST_FILE.

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
            found = stream.read()
    except FileNotFoundError:
        raise Unreadable("no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise Unreadable(one_line(getattr(error, "strerror", None) or error)) from None
    if not found:
        raise Unreadable("empty file")
    return found


def open_image(data: bytes, *, longest: int | None = None, name: str = "") -> Image.Image:
    """A picture out of the bytes of a file, upright, in mode RGB.

    Args:
        data: of the file.
        longest: side in pixels that is enough for the caller: a JPEG is decoded no finer than twice
            that.
        name: of the file, for the log, which hears of further frames and of 16-bit grey that is
            almost black.

    Raises:
        Unreadable: for what is no picture, is damaged, has too many pixels, or pixels of unknown
            range.
    """
    return open_with_size(data, longest=longest, name=name)[0]


def open_with_size(
    data: bytes, *, longest: int | None = None, name: str = ""
) -> tuple[Image.Image, tuple[int, int]]:
    """`open_image`, and (width, height) of the picture in the file, upright."""
    return _decode_safely(lambda: _decode_picture(data, longest, name))


def is_plain_jpeg(data: bytes) -> bool:
    """Whether a picture that can be decoded is a JPEG of RGB pixels that stand upright."""

    def look() -> bool:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return image.format == "JPEG" and image.mode == "RGB" and _read_orientation(image) == 1

    return _decode_safely(look)


def read_pixels(data: bytes, *, name: str = "") -> np.ndarray:
    """uint8 [H, W, 3]; see `open_image`."""
    return np.array(open_image(data, name=name))


def read_mask(data: bytes) -> tuple[str, np.ndarray]:
    """The mode of a mask file, as Pillow has it, and its numbers as they were written, [H, W] or
    [H, W, channels].

    Raises:
        Unreadable: for anything but PNG and TIFF, for what is damaged or too large, and for several
            pages.
    """
    return _decode_safely(lambda: _decode_mask(data))


def _decode_safely(make: Callable[[], T]) -> T:
    """Whatever goes wrong in a decoder, as Unreadable."""
    with warnings.catch_warnings():
        # on odd metadata, and on many pixels, which are counted here
        warnings.simplefilter("ignore")
        try:
            return make()
        except Unreadable:
            raise
        except Image.DecompressionBombError as error:  # of twice as many, while the file is opened
            raise make_size_error(re.sub(r"\D*(\d+).*", r"\1", str(error))) from None
        except Image.UnidentifiedImageError:  # its text holds a memory address
            raise Unreadable("no known format") from None
        except Exception as error:  # on hostile bytes Pillow's decoders raise anything
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
        # a camera's second picture is a preview
        if image.format != "MPO" and _is_one_of_several(image):
            warn_once("frames", f"{name}: has several frames or pages; the first is taken")
        upright = turn_upright(image)
        size = upright.size
        if image.size != whole:  # a JPEG that was decoded at less than its size
            size = (whole[1], whole[0]) if _read_orientation(image) > 4 else whole
        return to_rgb(upright, raw, tags=tags, name=name), size


def _decode_mask(data: bytes) -> tuple[str, np.ndarray]:
    with Image.open(io.BytesIO(data), formats=MASK_FORMATS) as image:
        check_size(image)
        raw, tags = read_raw_mode(image), getattr(image, "tag_v2", {})
        found = np.array(image)
        if _is_one_of_several(image):
            raise Unreadable("has several frames or pages; save the one that is meant")
        if image.mode != "P" and _read_first(tags, WHITE_IS_ZERO) == 0:
            raise Unreadable(
                "its numbers are stored the other way round (WhiteIsZero); save it as PNG"
            )
        return image.mode, found // STRETCH[raw] if raw in STRETCH else found


def check_size(image: Image.Image) -> None:
    """Refuse more pixels than Pillow holds to be safe, before any of them is decoded.

    Raises:
        Unreadable: with the limit.
    """
    if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        raise make_size_error(image.width * image.height)


def make_size_error(count: int | str) -> TooManyPixels:
    """The refusal of so many pixels, with the limit."""
    most = Image.MAX_IMAGE_PIXELS
    return TooManyPixels(
        f"Image size ({count} pixels) exceeds limit (a decompression bomb?): more than {most} "
        "pixels; shrink it first"
    )


def shrink_size(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """A size of the same ratio whose longer side is at most `longest`."""
    scale = min(1.0, longest / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def read_raw_mode(image: Image.Image) -> str:
    """How pixels lie in a file that was not decoded yet, such as `L;2`; empty where Pillow does not
    say.
    """
    args = image.tile[0][3] if getattr(image, "tile", None) else ""  # type: ignore[attr-defined]
    return str(args[0] if isinstance(args, tuple) and args else args)


def _is_one_of_several(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # damage behind the first frame, which was decoded
        return False


def _read_first(tags: Mapping[int, Any], tag: int) -> Any:
    """The value of a tag, or the first of several."""
    value = tags.get(tag)
    return value[0] if isinstance(value, tuple) and value else value


def turn_upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF orientation says; as it is where that cannot be read."""
    turn = TURNS.get(_read_orientation(image))
    return image.transpose(Image.Transpose[turn]) if turn else image


def _read_orientation(image: Image.Image) -> int:
    """1, upright, to 8, as EXIF has it; 1 where that cannot be read."""
    try:
        number = int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # metadata only: the pixels can be decoded all the same
        return 1
    return number if number in TURNS else 1


def to_rgb(image: Image.Image, raw: str, *, tags: Mapping[int, Any], name: str) -> Image.Image:
    """8-bit RGB of a decoded picture of any mode, as the head of this file says.

    Args:
        image: decoded.
        raw: its mode by `read_raw_mode` before it was.
        tags: of TIFF.
        name: of the file, for the log.

    Raises:
        Unreadable: for pixels of unknown range or colours.
    """
    if image.mode == "F":
        raise Unreadable("floating-point pixels have no known range; save it with 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        return grey_to_rgb(image, tags, name)
    if image.mode not in MODES:
        raise Unreadable(f"pixels of mode {image.mode}, which are not read; save it as RGB")
    if _read_first(tags, SAMPLE_FORMAT) == 2:
        raise Unreadable("signed pixels have no known range; save it without a sign")
    if image.mode == "RGBA" and tags and _read_first(tags, EXTRA_SAMPLES) not in (1, 2):
        return image.convert("RGB")  # a fourth channel that is no alpha, such as infrared
    clear = image.info.get("transparency")
    if raw in STRETCH and isinstance(clear, int):  # Pillow stretches pixels alone
        image.info["transparency"] = clear * STRETCH[raw]
    elif raw.startswith("RGB;16") and isinstance(clear, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in clear)
    if image.has_transparency_data:
        image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def grey_to_rgb(image: Image.Image, tags: Mapping[int, Any], name: str) -> Image.Image:
    """RGB of a picture of 16-bit grey (modes `I` and `I;16..`); Pillow would cut off all above 255.

    Raises:
        Unreadable: for values that are not of 16 bits.
    """
    values = np.asarray(image).astype(np.int64)
    clear = values == image.info.get("transparency", -1)
    least, most = int(values.min()), int(values.max())
    if image.mode == "I" and (least < 0 or most > 65535 or 0 < most < 256):
        raise Unreadable(
            f"32-bit pixels from {least} to {most} have no known range; save it with 8 or 16 bits"
        )
    if _read_first(tags, BITS) == 12:
        values = values << 4
    if image.mode != "I" and _read_first(tags, WHITE_IS_ZERO) == 0:
        values = 65535 - values
    if 0 < (most := int(values.max())) < DARK:
        warn_once(
            "dark",
            f"{name}: 16-bit grey whose brightest pixel is {most} of 65535, almost black; "
            "stretch such pictures first",
        )
    values = (values >> 8).astype(np.uint8)
    values[clear] = 255
    return Image.fromarray(values).convert("RGB")


def warn_once(kind: str, text: str) -> None:
    """A warning, the first of a kind alone: a whole folder may be alike."""
    if kind not in WARNED:
        WARNED.add(kind)
        log.warning("%s (others like it are not named)", one_line(text, 400))
