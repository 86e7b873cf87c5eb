"""Pictures as the page gets them."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from captionseg.demo.data_urls import encode_picture


def test_a_picture_is_sent_whole_and_no_larger_than_asked_for():
    source = encode_picture(np.full((30, 60, 3), 90, np.uint8), 20)
    kind, data = source.split(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.size == (20, 10)
