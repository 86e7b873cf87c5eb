"""Overlap of masks, and suppression of near duplicates (mask NMS)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

BLOCK = 1 << 16  # pixels at once: as floats, masks take four times their memory


def suppress(
    masks: Bool[np.ndarray, "mask height width"],
    stability: Float[np.ndarray, " mask"],
    score: Float[np.ndarray, " mask"],
    *,
    iou: float,
) -> Int[np.ndarray, " mask"]:
    """Greedy mask NMS that remembers who took whose place: from the most stable down, ties by
    score.

    Args:
        masks: none empty.
        stability: of each.
        score: grounding scores.
        iou: 0..1.

    Returns:
        See `find_survivors`.
    """
    return find_survivors(mask_iou(masks), np.lexsort((-score, -stability)), iou)


def find_survivors(
    overlap: Float[np.ndarray, "mask mask"], order: Int[np.ndarray, " mask"], iou: float
) -> Int[np.ndarray, " mask"]:
    """Greedy NMS: one that overlaps a survivor by more than `iou` goes to the survivor that it
    overlaps most.

    Args:
        overlap: IoU.
        order: in which they are visited.
        iou: 0..1.

    Returns:
        The survivor of each; a survivor's own number stands at its place.
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
    """IoU of masks with others, None: with each other; 0 between empty masks."""
    pixels = masks.shape[1] * masks.shape[2]
    a = masks.reshape(len(masks), pixels)
    b = a if others is None else others.reshape(len(others), pixels)
    both = np.zeros((len(a), len(b)), np.float32)
    for start in range(0, pixels, BLOCK):
        part = a[:, start : start + BLOCK].astype(np.float32)
        both += (
            part @ (part if others is None else b[:, start : start + BLOCK].astype(np.float32)).T
        )
    either = a.sum(axis=1, dtype=np.float32)[:, None] + b.sum(axis=1, dtype=np.float32) - both
    return both / np.maximum(either, 1)
