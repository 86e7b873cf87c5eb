"""Mask files of benchmarks: a whole number per pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from captionseg import images
from captionseg.records import UserError, one_line

RAW = 2**16  # values of a mask file lie below


def read_mask(path: Path, *, rgb: bool = False) -> np.ndarray:
    """[H, W] integer raw values of a mask file: index or palette PNG, RGB with R + 256 G, or .mat
    with `LabelMap`.

    Raises:
        UserError: for a file that is none of them.
    """
    if path.suffix == ".mat":
        from scipy.io import loadmat

        try:
            values = np.asarray(loadmat(path, variable_names=["LabelMap"])["LabelMap"])
        except Exception as error:  # on damaged bytes scipy's reader raises anything
            raise UserError(f"{path}: not a .mat file with LabelMap: {one_line(error)}") from None
    else:
        values = _png(path, rgb=rgb)
    if (
        values.ndim != 2
        or values.dtype.kind not in "iu"
        or (values.size and not 0 <= values.min() <= values.max() < RAW)
    ):
        raise UserError(
            f"{path}: not a mask; expected one whole number from 0 to {RAW - 1} per pixel"
        )
    return values


def _png(path: Path, *, rgb: bool) -> np.ndarray:
    try:
        mode, values = images.read_mask(images.read_contents(path))
    except images.Unreadable as error:
        raise UserError(f"{path}: not a readable image: {error}") from None
    modes = ("RGB", "RGBA") if rgb else ("P", "L", "1", "I;16", "I;16B", "I")
    if mode not in modes:
        raise UserError(
            f"{path}: expected class numbers, found colours ({mode}); save it as "
            + ("RGB with the number in R + 256 G" if rgb else "index or palette PNG")
        )
    return (
        values[..., 0] + 256 * values[..., 1].astype(np.int32) if rgb else values.astype(np.int32)
    )
