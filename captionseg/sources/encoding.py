"""A picture as it came -> the JPEG that a shard holds."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

from PIL import Image

from captionseg import images
from captionseg.images import shrink_size
from captionseg.sources.reasons import Refusal

SMALLEST_SIDE = 16  # pixels; below it no encoder sees anything
QUALITY = 92


@dataclass(frozen=True)
class EncodedPicture:
    """A picture of a shard.

    Attributes:
        jpeg: its bytes.
        size, original_size: (width, height) in pixels, upright, of these and of what came.
        original_sha256: of the bytes that came, 64 hex digits.
        original_bytes: how many these are.
    """

    jpeg: bytes
    size: tuple[int, int]
    original_size: tuple[int, int]
    original_sha256: str
    original_bytes: int


def encode_picture(
    data: bytes, longest: int, *, name: str = "", keep: bool = False
) -> EncodedPicture:
    """A JPEG of any picture that `images.open_image` reads, shrunk to `longest`.

    Args:
        data: the bytes of a file.
        longest: pixels of the longer side; no picture is enlarged.
        name: of the file, for the log.
        keep: an upright RGB JPEG that is small enough stays as it is, byte for byte.

    Raises:
        Refusal: where it cannot be decoded, or would be too small.
    """
    try:
        image, original = images.open_with_size(data, longest=longest, name=name)
    except images.TooManyPixels as error:
        raise Refusal("too_many_pixels", f"cannot be decoded: {error}") from None
    except images.Unreadable as error:
        raise Refusal("not_decodable", f"cannot be decoded: {error}") from None
    size = shrink_size(image.size, longest)
    if min(size) < SMALLEST_SIDE:
        raise Refusal(
            "too_small",
            f"too small: {size[0]} x {size[1]} pixels, at least {SMALLEST_SIDE} are needed",
        )
    digest = hashlib.sha256(data).hexdigest()
    if keep and size == original and images.is_plain_jpeg(data):
        return EncodedPicture(data, size, original, digest, len(data))
    image = image.resize(size, Image.Resampling.LANCZOS)
    image.info = {}  # comments would be written too
    image.save(stream := io.BytesIO(), "JPEG", quality=QUALITY)
    return EncodedPicture(stream.getvalue(), size, original, digest, len(data))
