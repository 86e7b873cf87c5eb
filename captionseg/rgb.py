"""Converts decoded pictures of any mode to 8-bit RGB.

- Transparent pixels become white.
- 16-bit grey keeps the upper 8 bits. Floating-point and signed pixels, 32-bit pixels outside 0 to
  65535 and CIELab are refused, because their value of white is unknown.
- Colour profiles (ICC) are not applied, as in nearly all training and test data of the field.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from captionseg.records import one_line

log = logging.getLogger(__name__)
MODES = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"}
"""Supported modes of Pillow, besides 16-bit grey (`I` and `I;16..`)."""
# 16-bit grey below this is more likely 12-bit data than a picture taken at night
DARK = 2**12
STRETCH = {"L;2": 85, "L;4": 17}  # factors by which Pillow multiplies grey of few bits
WARNED: set[str] = set()  # kinds of warnings already logged
# tags of TIFF
BITS, WHITE_IS_ZERO, EXTRA_SAMPLES, SAMPLE_FORMAT = (258, 262, 338, 339)


def read_tag(tags: Mapping[int, Any], tag: int) -> Any:
    """Return the value of a TIFF tag, or the first of several; None if there is none."""
    value = tags.get(tag)
    return value[0] if isinstance(value, tuple) and value else value


def to_rgb(image: Image.Image, raw: str, *, tags: Mapping[int, Any], name: str) -> Image.Image:
    """Convert a decoded picture of any mode to 8-bit RGB, by the rules of the module docstring.

    Args:
        image: decoded picture.
        raw: its raw mode before decoding, see `captionseg.images.read_raw_mode`.
        tags: its TIFF tags.
        name: name of the file, for warnings.

    Raises:
        ValueError: for pixels of unknown range or colours.
    """
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range; save it with 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        return grey_to_rgb(image, tags, name)
    if image.mode not in MODES:
        raise ValueError(f"pixels of mode {image.mode} are not supported; save it as RGB")
    if read_tag(tags, SAMPLE_FORMAT) == 2:
        raise ValueError("signed pixels have no known range; save it without a sign")
    if image.mode == "RGBA" and tags and read_tag(tags, EXTRA_SAMPLES) not in (1, 2):
        return image.convert("RGB")  # the fourth channel is not alpha, for example infrared
    clear = image.info.get("transparency")
    if raw in STRETCH and isinstance(clear, int):  # Pillow only stretches the pixels
        image.info["transparency"] = clear * STRETCH[raw]
    elif raw.startswith("RGB;16") and isinstance(clear, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in clear)
    if image.has_transparency_data:
        image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def grey_to_rgb(image: Image.Image, tags: Mapping[int, Any], name: str) -> Image.Image:
    """Convert 16-bit grey (modes `I` and `I;16..`) to RGB; Pillow would clip values at 255.

    Raises:
        ValueError: for values outside 16 bits.
    """
    values = np.asarray(image).astype(np.int64)
    clear = values == image.info.get("transparency", -1)
    least, most = int(values.min()), int(values.max())
    if image.mode == "I" and (least < 0 or most > 65535 or 0 < most < 256):
        raise ValueError(
            f"32-bit pixels from {least} to {most} have no known range; save it with 8 or 16 bits"
        )
    if read_tag(tags, BITS) == 12:
        values = values << 4
    if image.mode != "I" and read_tag(tags, WHITE_IS_ZERO) == 0:
        values = 65535 - values
    if 0 < (most := int(values.max())) < DARK:
        warn_once(
            "dark",
            f"{name}: 16-bit grey and almost black, the brightest pixel is {most} of 65535; "
            "stretch the contrast of such pictures first",
        )
    values = (values >> 8).astype(np.uint8)
    values[clear] = 255
    return Image.fromarray(values).convert("RGB")


def warn_once(kind: str, text: str) -> None:
    """Log only the first warning of a kind, because all pictures of a folder may be alike."""
    if kind not in WARNED:
        WARNED.add(kind)
        log.warning("%s (further pictures like this are not reported)", one_line(text, 400))
