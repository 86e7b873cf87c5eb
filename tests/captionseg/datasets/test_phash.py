"""The perceptual hash: by hand on one frequency, and what it is to tell apart."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from captionseg.datasets.phash import hash_picture


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
    code = int(hash_picture(jpeg(np.tile(wave, (32, 1)), 100)), 16)
    assert code >> 63 == 1  # the mean, row 0 column 0, is the highest bit
    assert code >> 60 & 1 == 1  # row 0 column 3
    flipped = int(hash_picture(jpeg(np.tile(256 - wave, (32, 1)), 100)), 16)
    assert flipped >> 60 & 1 == 0


def test_copies_are_near_and_others_are_not() -> None:
    rng = np.random.default_rng(0)
    blobs = [rng.uniform(0, 255, (6, 6, 3)).astype(np.uint8) for _ in range(2)]
    one, other = (np.asarray(Image.fromarray(b).resize((200, 150))) for b in blobs)
    own = hash_picture(jpeg(one))
    assert distance(own, hash_picture(jpeg(one, 40, (120, 90)))) <= 4
    assert distance(own, hash_picture(jpeg(0.8 * one + 10.0))) <= 4
    assert distance(own, hash_picture(jpeg(other))) > 12
