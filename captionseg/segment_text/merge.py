"""Near-duplicate masks become one, which keeps the texts of all (USE, section 3.2: mask NMS at IoU 0.7)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from captionseg.segment_text.phrases import normalised

BLOCK = 1 << 16  # pixels at once: as floats, masks take four times their memory


def suppress(masks: np.ndarray, stability: np.ndarray, score: np.ndarray, *, iou: float) -> np.ndarray:
    """Greedy mask NMS that remembers who took whose place.

    Masks are visited from the most stable down, ties by grounding score. One that overlaps a survivor by more than
    `iou` goes to the survivor that it overlaps most; otherwise it survives.

    Args:
        masks: [n, H, W] bool, none empty.
        stability: [n].
        score: [n] grounding scores.
        iou: 0..1.

    Returns:
        [n] int: the survivor of each mask; a survivor's own number stands at its place.
    """
    overlap = mask_iou(masks)
    owner = np.arange(len(masks))
    kept: list[int] = []
    for i in np.lexsort((-score, -stability)):
        if kept and overlap[i, kept].max() > iou:
            owner[i] = kept[int(np.argmax(overlap[i, kept]))]
        else:
            kept.append(int(i))
    return owner


def mask_iou(masks: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
    """[n, H, W] and [m, H, W] (None: the same) bool -> [n, m] float32 IoU; 0 between empty masks."""
    pixels = masks.shape[1] * masks.shape[2]
    a = masks.reshape(len(masks), pixels)
    b = a if others is None else others.reshape(len(others), pixels)
    both = np.zeros((len(a), len(b)), np.float32)
    for start in range(0, pixels, BLOCK):
        part = a[:, start : start + BLOCK].astype(np.float32)
        both += part @ (part if others is None else b[:, start : start + BLOCK].astype(np.float32)).T
    either = a.sum(axis=1, dtype=np.float32)[:, None] + b.sum(axis=1, dtype=np.float32) - both
    return both / np.maximum(either, 1)


def merged_texts(texts: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Texts of one segment, as SEGMENT_TEXT has them: each normalised text once, as in its best box, best first.

    Of equal scores the first counts: the original caption before the generated one. `count` adds up.
    """
    best: dict[str, dict[str, Any]] = {}
    count: Counter[str] = Counter()
    for text in texts:
        key = normalised(text["text"])
        count[key] += text["count"]
        if key not in best or text["score"] > best[key]["score"]:
            best[key] = text
    found = [{**text, "count": count[key]} for key, text in best.items()]
    return sorted(found, key=lambda t: (-t["score"], t["text"]))
