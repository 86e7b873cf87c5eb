"""Reads image files for people: what is wrong with one is a UserError. Imports no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from captionseg import images
from captionseg.records import UserError


def read_image(path: Path | str) -> np.ndarray:
    """Read an image file as uint8 [H, W, 3], by the rules of `captionseg/images.py`.

    Raises:
        UserError: if it is missing, not an image, too large, or has pixels of unknown range.
    """
    try:
        return images.read_pixels(images.read_contents(path), name=str(path))
    except images.Unreadable as error:
        missing = str(error) == "no such file"
        raise UserError(f"{path}: {'' if missing else 'not a readable image: '}{error}") from None
