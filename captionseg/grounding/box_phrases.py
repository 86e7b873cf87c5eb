"""Assigns the boxes of a detector to phrases, by the scores of words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def best_words(
    logits: np.ndarray, words: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the best word of each box, for boxes where its score exceeds the threshold.

    Args:
        logits: [Q, T] logits of boxes and tokens; -inf for padding.
        words: [n] bool, n <= T: which tokens are words.
        threshold: minimum score, a sigmoid in 0..1.

    Returns:
        [k] numbers of boxes, [k] numbers of their best tokens, and [k] float32 scores.
    """
    from scipy.special import expit

    word_logits = np.where(words, logits[:, : len(words)], -np.inf)
    token = word_logits.argmax(axis=1)
    score = expit(word_logits.max(axis=1)).astype(np.float32)
    box = np.flatnonzero(score > threshold)
    return box, token[box], score[box]


def match_mentions(
    places: np.ndarray, spans: Sequence[Sequence[tuple[int, int]]]
) -> tuple[np.ndarray, np.ndarray]:
    """Find the mention of a phrase that contains each word, the shortest if there are several.

    Args:
        places: [k, 2] (start, end) characters of words.
        spans: for each phrase the (start, end) characters of its mentions.

    Returns:
        [k] numbers of phrases, and [k] numbers of mentions, counted over all phrases; -1 for none.
    """
    labelled_spans = [
        (end - start, start, end, phrase) for phrase, row in enumerate(spans) for start, end in row
    ]
    phrase, mention = np.full(len(places), -1, np.int32), np.full(len(places), -1)
    # the shortest last, because it overwrites longer ones
    for number in sorted(range(len(labelled_spans)), key=lambda n: -labelled_spans[n][0]):
        _, start, end, owner = labelled_spans[number]
        inside = (places[:, 0] >= start) & (places[:, 1] <= end)
        phrase[inside], mention[inside] = owner, number
    return phrase, mention


def to_pixels(boxes: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Convert boxes from centre x, y, width, height in 0..1 to x0 y0 x1 y1 in pixels.

    Args:
        boxes: [k, 4] float32.
        image: the picture [H, W, 3]; boxes are clipped to it.
    """
    size = np.array(image.shape[1::-1], np.float32)
    corners = [boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2]
    return np.concatenate([np.clip(corner, 0, 1) * size for corner in corners], axis=1)


def suppress_within_groups(
    boxes: np.ndarray, score: np.ndarray, group: np.ndarray, iou: float
) -> np.ndarray:
    """Return the numbers of boxes that survive NMS within their groups.

    Args:
        boxes: [k, 4] x0 y0 x1 y1.
        score: [k].
        group: [k] number of each box's group.
        iou: boxes that overlap a better one by more than this IoU are suppressed.
    """
    import torch
    from torchvision.ops import batched_nms

    return batched_nms(
        torch.from_numpy(boxes), torch.from_numpy(score), torch.from_numpy(group), iou
    ).numpy()
