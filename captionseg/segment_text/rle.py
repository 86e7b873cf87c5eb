"""COCO's compressed run-length encoding of masks."""

from __future__ import annotations

import itertools
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


def encode_labels(labels: np.ndarray, count: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return what `encode` makes of the masks labels == 0, .., labels == count - 1.

    The picture is looked at once, not once for each label.

    Args:
        labels: integer [H, W], below `count`; negative ones belong to no mask.
        count: number of masks.
    """
    flat = labels.T.ravel()
    start = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1]).astype(np.int64)
    length, label = np.diff(np.append(start, flat.size)), flat[start]
    order = np.argsort(label, kind="stable")
    first = np.searchsorted(label[order], np.arange(count + 1))
    height, width = labels.shape
    coded = []
    for begin, end in itertools.pairwise(first):
        runs = order[begin:end]
        counts = np.diff(np.stack([start[runs], start[runs] + length[runs]], 1).ravel(), prepend=0)
        rest = flat.size - int(counts.sum())
        counts = [*counts.tolist(), rest] if rest else counts.tolist()
        coded.append({"size": [height, width], "counts": counts})
    if not coded:
        return encode(np.zeros((0, height, width), bool))
    rles = [_coco().frPyObjects(one, height, width) for one in coded]
    boxes = [_coco().toBbox(rles[i : i + CHUNK]) for i in range(0, len(rles), CHUNK)]
    areas = np.bincount(flat[flat >= 0], minlength=count).astype(np.int32)
    texts = [rle["counts"].decode("ascii") for rle in rles]
    return texts, areas, np.concatenate(boxes).astype(np.float32)


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
