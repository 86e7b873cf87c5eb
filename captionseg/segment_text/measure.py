"""How good segments and their texts are, where exact masks are known. For evaluation only."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence

import numpy as np
import pyarrow as pa
from PIL import Image

from captionseg.segment_text.rle import decode
from captionseg.segmenters.overlap import mask_iou
from captionseg.text.vocabulary import Vocabulary, plurals

IGNORED = 255


def measure(
    segments: pa.Table, truth: pa.Table, names: Sequence[str], *, images: int | None = None,
    kinds: Collection[str] = ("phrase", "concept"),
) -> dict[str, float]:
    """Compare segments with true masks.

    Args:
        segments: of schema SEGMENTS.
        truth: of schema TRUTH.
        names: of the classes, by index.
        images: only so many, evenly spread over those that have segments; None takes all.
        kinds: of texts that count; segments that have no others are left out. What expressions say beside their phrase
            ("a dog on the grass") names other things too.

    Returns:
        recall: share of true masks (one a class and image) that a segment matches with an IoU of at least .5;
        named_recall: by a segment that is also called by its class; mean_iou: mean over true masks of the best IoU;
        text_precision: of texts that name a class, the share that name the one that most of the segment's pixels are.
        Empty if no segment's image is in the truth.
    """
    uids = sorted(set(segments["uid"].to_pylist()) & set(truth["uid"].to_pylist()))
    if images is not None and images < len(uids):
        uids = [uids[i] for i in np.linspace(0, len(uids), images, endpoint=False).astype(int)]
    if not uids:
        return {}
    masks = dict(zip(truth["uid"].to_pylist(), truth["mask"].to_pylist(), strict=True))
    rows: dict[str, list[dict]] = {uid: [] for uid in uids}
    for row in segments.select(["uid", "rle", "height", "width", "texts"]).to_pylist():
        if row["uid"] in rows and (texts := [text for text in row["texts"] if text["kind"] in kinds]):
            rows[row["uid"]].append({**row, "texts": texts})
    says = namer(sorted({t["text"] for row in rows.values() for s in row for t in s["texts"]}), names)
    best, named, right = zip(*(_compare(rows[uid], class_map(masks[uid]), says) for uid in uids), strict=True)
    best, named, right = map(np.concatenate, (best, named, right))
    return {
        "recall": float((best >= 0.5).mean()), "named_recall": float((named >= 0.5).mean()),
        "mean_iou": float(best.mean()), "text_precision": float(right.mean()) if len(right) else 0.0,
    }  # fmt: skip


def namer(texts: Sequence[str], names: Sequence[str]) -> dict[str, set[int]]:
    """text -> the classes that it names, word for word."""
    matrix = Vocabulary(tuple(names), plurals(names, texts)).named(texts)
    ends = zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)
    return {t: set(matrix.indices[a:b].tolist()) for t, (a, b) in zip(texts, ends, strict=True)}


def class_map(png: bytes) -> np.ndarray:
    """[H, W] class indices of an encoded mask."""
    return np.asarray(Image.open(io.BytesIO(png)))


def _compare(
    rows: list[dict], true: np.ndarray, says: dict[str, set[int]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of one image: per true mask its best IoU, and its best with a segment called so; per naming text, is it right?"""
    classes = np.setdiff1d(np.unique(true), [IGNORED])
    masks = decode([row["rle"] for row in rows], *true.shape)
    iou = mask_iou(masks, true == classes[:, None, None])
    called = [set().union(*(says[t["text"]] for t in row["texts"])) for row in rows]
    is_called = np.array([[c in names for c in classes.tolist()] for names in called], bool).reshape(iou.shape)
    counts = (masks[:, None] & (true == classes[:, None, None])).sum(axis=(2, 3))
    major = classes[counts.argmax(axis=1)]
    right = [int(m) in says[t["text"]] for row, m in zip(rows, major, strict=True) for t in row["texts"]
             if says[t["text"]]]  # fmt: skip
    return iou.max(axis=0, initial=0), (iou * is_called).max(axis=0, initial=0), np.array(right, bool)
