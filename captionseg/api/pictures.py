"""Reads pictures as Python has them: files, bytes, Pillow's images and arrays."""

from __future__ import annotations

import os
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from PIL import Image

from captionseg import images
from captionseg.inference.image_files import read_image
from captionseg.records import UserError, one_line
from captionseg.rgb import to_rgb

Picture: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | np.ndarray"
"""A file, its content, or pixels: an image of Pillow, or uint8 [H, W], [H, W, 3] or [H, W, 4]."""


class Pixels(NamedTuple):
    """A picture that was read.

    Attributes:
        image: uint8 [H, W, 3].
        name: of its file; empty if it has none.
    """

    image: np.ndarray
    name: str


def is_one(pictures: Any) -> bool:
    """Whether something is a single picture, not several of them."""
    return isinstance(pictures, str | os.PathLike | bytes | Image.Image | np.ndarray)


def read(picture: Picture, *, name: str = "") -> Pixels:
    """Read a picture as upright 8-bit RGB, by the rules of captionseg.images and captionseg.rgb.

    Args:
        picture: see Picture.
        name: what it is called in messages, if it is not a file.

    Raises:
        UserError: if it is missing, no picture, damaged, too large, or has pixels of unknown range.
    """
    if isinstance(picture, str | os.PathLike):
        path = os.fspath(picture)
        return Pixels(read_image(path), path)
    try:
        if isinstance(picture, bytes):
            return Pixels(images.read_pixels(picture, name=name or "picture"), name)
        if isinstance(picture, np.ndarray):
            return Pixels(read_array(picture), name)
        if isinstance(picture, Image.Image):
            name = name or str(getattr(picture, "filename", ""))
            images.check_size(picture)
            upright = to_rgb(images.turn_upright(picture), "", tags={}, name=name)
            return Pixels(np.array(upright), name)
    except (images.Unreadable, ValueError, OSError) as error:
        raise UserError(f"{name or 'picture'}: not a readable image: {one_line(error)}") from None
    raise UserError(
        f"picture: expected a file, bytes, an image of Pillow or an array, found "
        f"{type(picture).__name__}"
    )


def read_array(array: np.ndarray) -> np.ndarray:
    """Convert an array to RGB: grey [H, W] or [H, W, 1], RGB, or RGBA on white.

    Raises:
        ValueError: for another shape or type.
    """
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise ValueError(
            f"expected uint8 [H, W], [H, W, 3] or [H, W, 4], found {array.dtype} "
            f"{list(array.shape)}"
        )
    if not array.size:
        raise ValueError(f"no pixels, {list(array.shape)}")
    if channels == 3:
        return np.require(array, requirements=("C", "W"))  # torch warns of others
    image = Image.fromarray(array[..., 0] if array.ndim == 3 and channels == 1 else array)
    return np.array(to_rgb(image, "", tags={}, name="picture"))
