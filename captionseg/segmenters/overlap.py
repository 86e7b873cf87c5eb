"""Overlap of masks, and suppression of near duplicates (mask NMS)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

BLOCK = 1 << 16  # pixels per block, because masks as floats need four times their memory


def suppress(
    masks: Bool[np.ndarray, "mask height width"],
    stability: Float[np.ndarray, " mask"],
    score: Float[np.ndarray, " mask"],
    *,
    iou: float,
) -> Int[np.ndarray, " mask"]:
    """Greedy mask NMS, in order of stability and then of score.

    Args:
        masks: masks, none empty.
        stability: stability of each mask.
        score: grounding score of each mask.
        iou: masks that overlap by more than this IoU are suppressed, in 0..1.

    Returns:
        see `find_survivors`.
    """
    return find_survivors(mask_iou(masks), np.lexsort((-score, -stability)), iou)


def find_survivors(
    overlap: Float[np.ndarray, "mask mask"], order: Int[np.ndarray, " mask"], iou: float
) -> Int[np.ndarray, " mask"]:
    """Greedy NMS that assigns each suppressed mask to the survivor that it overlaps most.

    Args:
        overlap: IoU of all pairs.
        order: order in which masks are visited.
        iou: masks that overlap a survivor by more than this IoU are suppressed, in 0..1.

    Returns:
        the number of each mask's survivor; survivors have their own number.
    """
    owner = np.arange(len(overlap))
    surviving: list[int] = []
    for i in order:
        if surviving and overlap[i, surviving].max() > iou:
            owner[i] = surviving[int(np.argmax(overlap[i, surviving]))]
        else:
            surviving.append(int(i))
    return owner


def mask_iou(
    masks: Bool[np.ndarray, "mask height width"],
    others: Bool[np.ndarray, "other height width"] | None = None,
) -> Float32[np.ndarray, "mask other"]:
    """Return the IoU of masks with others, or with each other if None; 0 between empty masks."""
    pixels = masks.shape[1] * masks.shape[2]
    a = masks.reshape(len(masks), pixels)
    b = a if others is None else others.reshape(len(others), pixels)
    intersection = np.zeros((len(a), len(b)), np.float32)
    for start in range(0, pixels, BLOCK):
        part = a[:, start : start + BLOCK].astype(np.float32)
        intersection += (
            part @ (part if others is None else b[:, start : start + BLOCK].astype(np.float32)).T
        )
    union = (
        a.sum(axis=1, dtype=np.float32)[:, None] + b.sum(axis=1, dtype=np.float32) - intersection
    )
    return intersection / np.maximum(union, 1)
