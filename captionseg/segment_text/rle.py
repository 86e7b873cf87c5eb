"""COCO's compressed run-length encoding of masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

CHUNK = 60  # pycocotools writes how many masks there are, times four, into a byte


def encode(masks: np.ndarray) -> tuple[list[str], np.ndarray, np.ndarray]:
    """[n, H, W] bool -> compressed RLEs (column-major), areas [n] in pixels and boxes [n, 4] x, y,
    width, height.
    """
    if not len(masks):
        return [], np.zeros(0, np.int32), np.zeros((0, 4), np.float32)
    coco = _coco()
    encoded = coco.encode(np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8)))
    boxes = [coco.toBbox(encoded[i : i + CHUNK]) for i in range(0, len(encoded), CHUNK)]
    rles = [rle["counts"].decode("ascii") for rle in encoded]
    return rles, masks.sum(axis=(1, 2)).astype(np.int32), np.concatenate(boxes).astype(np.float32)


def decode(rles: Sequence[str], height: int, width: int) -> np.ndarray:
    """The inverse of `encode`: bool [n, H, W]."""
    if not len(rles):
        return np.zeros((0, height, width), bool)
    coded = [{"size": [height, width], "counts": rle.encode("ascii")} for rle in rles]
    return _coco().decode(coded).transpose(2, 0, 1).astype(bool)


def code_polygons(mask: Any, height: int, width: int) -> str:
    """Return the compressed RLE of polygons [[x, y, x, y, ..], ..], or of an RLE of numbers."""
    coco = _coco()
    coded = coco.frPyObjects(mask, height, width)
    merged = coco.merge(coded) if isinstance(coded, list) else coded
    return merged["counts"].decode("ascii")


def measure_areas(rles: Sequence[str], heights: Sequence[int], widths: Sequence[int]) -> np.ndarray:
    """[n] pixels inside each RLE, without decoding it."""
    sizes = zip(rles, heights, widths, strict=True)
    coded = [{"size": [h, w], "counts": rle.encode("ascii")} for rle, h, w in sizes]
    parts = [_coco().area(coded[i : i + CHUNK]) for i in range(0, len(coded), CHUNK)]
    return np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, np.int64)


def _coco() -> Any:
    from pycocotools import mask  # its own type hints know uncompressed RLE only

    return mask
