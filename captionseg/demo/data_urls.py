"""Pictures as the page gets them."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from captionseg.images import shrink_size

QUALITY = 88  # of JPEG


def encode_picture(image: np.ndarray, side: int = 0) -> str:
    """Encode a picture uint8 [H, W, 3] as the address of an image that holds all of it.

    So the server has no address of a picture that anybody could ask for.

    Args:
        image: the picture.
        side: its long side is shrunk to so many pixels; 0 leaves it as it is.
    """
    height, width = image.shape[:2]
    drawn = Image.fromarray(image)
    if side and max(height, width) > side:
        drawn = drawn.resize(shrink_size((width, height), side), Image.Resampling.BOX)
    stream = io.BytesIO()
    drawn.save(stream, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
