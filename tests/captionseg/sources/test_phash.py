"""The perceptual hash: by hand on one frequency, and what it is to tell apart."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from captionseg.sources import encoding
from captionseg.sources.encoding import encode_picture
from captionseg.sources.phash import hash_jpeg


def jpeg(pixels: np.ndarray, quality: int = 95, size: tuple[int, int] | None = None) -> bytes:
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    image = image.resize(size) if size else image
    image.save(stream := io.BytesIO(), "JPEG", quality=quality)
    return stream.getvalue()


def distance(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


def test_one_frequency_is_one_bit() -> None:
    """128 + 100 cos(2 pi (2 x + 1) 3 / 64) at 32 x 32 has the coefficients (0, 0) and (0, 3)."""
    wave = 128 + 100 * np.cos(np.pi * (2 * np.arange(32) + 1) * 3 / 64)
    code = int(hash_jpeg(jpeg(np.tile(wave, (32, 1)), 100)), 16)
    assert code >> 63 == 1  # the mean, row 0 column 0, is the highest bit
    assert code >> 60 & 1 == 1  # row 0 column 3
    flipped = int(hash_jpeg(jpeg(np.tile(256 - wave, (32, 1)), 100)), 16)
    assert flipped >> 60 & 1 == 0


def test_copies_are_near_and_others_are_not() -> None:
    rng = np.random.default_rng(0)
    blobs = [rng.uniform(0, 255, (6, 6, 3)).astype(np.uint8) for _ in range(2)]
    one, other = (np.asarray(Image.fromarray(b).resize((200, 150))) for b in blobs)
    own = hash_jpeg(jpeg(one))
    assert distance(own, hash_jpeg(jpeg(one, 40, (120, 90)))) <= 4
    assert distance(own, hash_jpeg(jpeg(0.8 * one + 10.0))) <= 4
    assert distance(own, hash_jpeg(jpeg(other))) > 12


def test_a_jpeg_that_is_kept_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hash of the pixels that were decoded to check it is that of its bytes."""
    rng = np.random.default_rng(1)
    for quality, size in ((30, (99, 64)), (95, (64, 120)), (75, (512, 300))):
        data = jpeg(rng.uniform(0, 255, (60, 80, 3)), quality, size)
        expected = hash_jpeg(data)
        with monkeypatch.context() as patch:
            patch.setattr(encoding, "hash_jpeg", lambda jpeg: pytest.fail("decoded once more"))
            kept = encode_picture(data, 512, keep=True)
        assert kept.jpeg == data
        assert kept.phash == expected
        shrunk = encode_picture(data, 48, keep=True)
        assert shrunk.phash == hash_jpeg(shrunk.jpeg)
