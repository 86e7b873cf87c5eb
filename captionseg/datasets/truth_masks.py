"""Ground-truth masks as PNG."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from captionseg import images
from captionseg.records import UserError


def encode_mask(mask: np.ndarray | None) -> bytes:
    """Encode a mask, [H, W] uint8 labels, as PNG."""
    stream = io.BytesIO()
    Image.fromarray(np.asarray(mask, np.uint8)).save(
        stream, "PNG", optimize=False, compress_level=6
    )
    return stream.getvalue()


def decode_mask(data: bytes) -> np.ndarray:
    """Decode a PNG to [H, W] uint8 labels.

    Raises:
        UserError: for anything else.
    """
    try:
        mode, labels = images.read_mask(data)
    except images.Unreadable as error:
        raise UserError(
            f"truth: a mask does not decode: {error}; run `dvc repro --force download`"
        ) from None
    if mode not in ("L", "P", "1"):
        raise UserError(
            f"truth: a mask of mode {mode} where 8-bit class numbers are expected; run `dvc repro "
            "--force download`"
        )
    return labels.astype(np.uint8)
