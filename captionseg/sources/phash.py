"""Perceptual hash: images that look alike differ in few of 64 bits.

The signs of the lowest 8 x 8 frequencies of the grey image at 32 x 32 against their median (Zauner,
"Implementation and Benchmarking of Perceptual Image Hash Functions", 2010); bit for bit that of the
package ImageHash.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

SIDE = 32  # pixels
LOW = 8  # frequencies per axis


def hash_image(image: Image.Image) -> str:
    """Hash the pixels of an image.

    Args:
        image: of any size, in a mode that Pillow converts to grey.

    Returns:
        16 hex digits: the bits row by row, the lowest frequency first, in the highest bit.
    """
    from scipy.fft import dctn  # slow to import, and only downloads hash images

    grey = image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    low = np.asarray(dctn(np.asarray(grey, np.float64)))[:LOW, :LOW]
    bits = (low > np.median(low)).ravel()
    return np.packbits(bits).tobytes().hex()


def hash_jpeg(jpeg: bytes) -> str | None:
    """`hash_image` of an encoded image; None where the bytes are no JPEG that can be decoded."""
    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
            return hash_image(image)
    except (OSError, ValueError):
        return None
