"""Perceptual hash of a picture: pictures that look alike differ in few of 64 bits.

The signs of the lowest 8 x 8 frequencies of the picture at 32 x 32 against their median (Zauner,
"Implementation and Benchmarking of Perceptual Image Hash Functions", 2010); bit for bit that of the
package ImageHash.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from scipy.fft import dctn

SIDE, LOW = 32, 8


def hash_picture(jpeg: bytes) -> str | None:
    """16 hex digits of a picture's JPEG; the bits row by row, the highest first. None for bytes
    that are none.
    """
    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
            grey = image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    except (OSError, ValueError):
        return None
    low = np.asarray(dctn(np.asarray(grey, np.float64)))[:LOW, :LOW]
    bits = (low > np.median(low)).ravel()
    return np.packbits(bits).tobytes().hex()
