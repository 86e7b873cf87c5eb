"""How good segments and their texts are, where exact masks are known. For evaluation only."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa

from captionseg.datasets.truth_masks import decode_mask
from captionseg.segment_text.rle import decode
from captionseg.segmenters.overlap import mask_iou
from captionseg.text.vocabulary import Vocabulary, find_plurals

IGNORED = 255


def measure(
    segments: pa.Table, truth: pa.Table, names: Sequence[str], *, images: int | None = None
) -> dict[str, float]:
    """`measures` of all texts that are phrases or concepts."""
    return measures(segments, truth, names, {"": ("phrase", "concept")}, images=images)[""]


def measures(
    segments: pa.Table,
    truth: pa.Table,
    names: Sequence[str],
    kinds: Mapping[str, Collection[str]],
    *,
    images: int | None = None,
) -> dict[str, dict[str, float]]:
    """Compare segments with true masks.

    Args:
        segments: of schema SEGMENTS.
        truth: of schema TRUTH.
        names: of the classes, by index.
        kinds: kinds of texts that count, for each of the results; segments that have no others are
            left out. What expressions say beside their phrase ("a dog on the grass") names other
            things too.
        images: only so many, evenly spread over those that have segments; None takes all.

    Returns:
        under each key of `kinds` recall: share of true masks (one a class and image) that a segment
        matches with an IoU of at least .5; named_recall: by a segment that is also called by its
        class; mean_iou: mean over true masks of the best IoU; text_precision: of texts that name a
        class, the share that name the one that most of the segment's pixels are. Empty if no
        segment's image is in the truth.
    """
    uids = sorted(set(segments["uid"].to_pylist()) & set(truth["uid"].to_pylist()))
    if images is not None and images < len(uids):
        uids = [uids[i] for i in np.linspace(0, len(uids), images, endpoint=False).astype(int)]
    if not uids:
        return {key: {} for key in kinds}
    masks = dict(zip(truth["uid"].to_pylist(), truth["mask"].to_pylist(), strict=True))
    rows: dict[str, list[dict]] = {uid: [] for uid in uids}
    for row in segments.select(["uid", "rle", "texts"]).to_pylist():
        if row["uid"] in rows:
            rows[row["uid"]].append(row)
    named_classes = build_namer(
        sorted({t["text"] for row in rows.values() for s in row for t in s["texts"]}), names
    )
    scores: dict[str, list[tuple[np.ndarray, ...]]] = {key: [] for key in kinds}
    for uid in uids:
        classes, iou, major = compare_masks(
            [row["rle"] for row in rows[uid]], decode_classes(masks[uid])
        )
        for key, counting in kinds.items():
            texts = [
                [named_classes[t["text"]] for t in row["texts"] if t["kind"] in counting]
                for row in rows[uid]
            ]
            scores[key].append(_score(texts, classes, iou, major))
    return {
        key: _means(*map(np.concatenate, zip(*rows_of_key, strict=True)))
        for key, rows_of_key in scores.items()
    }


def build_namer(texts: Sequence[str], names: Sequence[str]) -> dict[str, set[int]]:
    """text -> the classes that it names, word for word."""
    matrix = Vocabulary(tuple(names), find_plurals(names, texts)).match_captions(texts)
    ends = zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)
    return {t: set(matrix.indices[a:b].tolist()) for t, (a, b) in zip(texts, ends, strict=True)}


def decode_classes(png: bytes) -> np.ndarray:
    """[H, W] class indices of an encoded mask."""
    return decode_mask(png)


def compare_masks(
    rles: Sequence[str], true: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The classes of a true mask, IoU [segments, classes] of segments with them, and each segment's
    major class.
    """
    classes = np.setdiff1d(np.unique(true), [IGNORED])
    masks, truth = decode(rles, *true.shape), true == classes[:, None, None]
    counts = (masks[:, None] & truth).sum(axis=(2, 3))
    return classes, mask_iou(masks, truth), classes[counts.argmax(axis=1)]


def _score(
    texts: Sequence[Sequence[set[int]]], classes: np.ndarray, iou: np.ndarray, major: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of one image: per true mask its best IoU, and its best with a segment called so; per naming
    text, is it right?

    `texts` are the classes that each text of each segment names; a segment without texts does not
    count.
    """
    has_text = np.array([bool(named) for named in texts], bool)
    segment_classes = [set().union(*named) for named in texts]
    is_called = np.array(
        [[c in names for c in classes.tolist()] for names in segment_classes], bool
    ).reshape(iou.shape)
    right = [
        int(m) in names for named, m in zip(texts, major, strict=True) for names in named if names
    ]
    return (
        iou[has_text].max(axis=0, initial=0),
        (iou * is_called).max(axis=0, initial=0),
        np.array(right, bool),
    )


def _means(best: np.ndarray, named: np.ndarray, right: np.ndarray) -> dict[str, float]:
    return {
        "recall": float((best >= 0.5).mean()),
        "named_recall": float((named >= 0.5).mean()),
        "mean_iou": float(best.mean()),
        "text_precision": float(right.mean()) if len(right) else 0.0,
    }
