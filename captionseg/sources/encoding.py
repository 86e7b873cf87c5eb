"""An image file of any format -> the JPEG that a shard holds."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

from PIL import Image

from captionseg import images
from captionseg.images import shrink_size
from captionseg.sources.phash import hash_image, hash_jpeg
from captionseg.sources.reasons import Refusal

SMALLEST_SIDE = 16  # pixels; below it no encoder sees anything
QUALITY = 92  # of JPEG, 0 to 100


@dataclass(frozen=True)
class EncodedPicture:
    """An image of a shard, and properties of the file that it was made from.

    Attributes:
        jpeg: encoded image.
        size, original_size: (width, height) in pixels, upright, of the JPEG and of the file.
        original_sha256: of the file, 64 hex digits.
        original_bytes: size of the file.
        phash: perceptual hash of the JPEG, 16 hex digits.
    """

    jpeg: bytes
    size: tuple[int, int]
    original_size: tuple[int, int]
    original_sha256: str
    original_bytes: int
    phash: str | None


def encode_picture(
    data: bytes, longest: int, *, name: str = "", keep: bool = False
) -> EncodedPicture:
    """Encode an image of any format that `images.open_image` reads, shrunk to `longest`.

    Args:
        data: content of the file.
        longest: longer side in pixels; no image is enlarged.
        name: of the file, for the log.
        keep: leave an upright RGB JPEG that is small enough as it is, byte for byte.

    Raises:
        Refusal: if it cannot be decoded, or a side has fewer than SMALLEST_SIDE pixels.
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
        # what was decoded are the pixels of the JPEG itself
        return EncodedPicture(data, size, original, digest, len(data), hash_image(image))
    image = image.resize(size, Image.Resampling.LANCZOS)
    image.info = {}  # comments would be written too
    image.save(stream := io.BytesIO(), "JPEG", quality=QUALITY)
    jpeg = stream.getvalue()
    # encoding loses detail, so the hash needs the pixels that the JPEG decodes to
    return EncodedPicture(jpeg, size, original, digest, len(data), hash_jpeg(jpeg))
