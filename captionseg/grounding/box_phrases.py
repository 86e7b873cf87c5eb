"""From scores of words for boxes to boxes of phrases."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def best_words(
    logits: np.ndarray, words: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best word of each box, for those where it scores more than the threshold.

    Args:
        logits: [Q, T]; -inf where there is no token.
        words: [n] bool, n <= T: tokens that count.
        threshold: of the sigmoid.

    Returns:
        [k] numbers of boxes, [k] numbers of their tokens, [k] float32 scores.
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
    """Per place [k, 2] the phrase and the mention (counted over all) with the shortest span that
    covers it, else -1.
    """
    labelled_spans = [
        (end - start, start, end, phrase) for phrase, row in enumerate(spans) for start, end in row
    ]
    phrase, mention = np.full(len(places), -1, np.int32), np.full(len(places), -1)
    # the shortest last: it overwrites
    for number in sorted(range(len(labelled_spans)), key=lambda n: -labelled_spans[n][0]):
        _, start, end, owner = labelled_spans[number]
        inside = (places[:, 0] >= start) & (places[:, 1] <= end)
        phrase[inside], mention[inside] = owner, number
    return phrase, mention


def to_pixels(boxes: np.ndarray, image: np.ndarray) -> np.ndarray:
    """[k, 4] float32: centre x y, width, height in 0..1 -> x0 y0 x1 y1 in pixels, inside the
    picture.
    """
    size = np.array(image.shape[1::-1], np.float32)
    corners = [boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2]
    return np.concatenate([np.clip(corner, 0, 1) * size for corner in corners], axis=1)


def suppress_within_groups(
    boxes: np.ndarray, score: np.ndarray, group: np.ndarray, iou: float
) -> np.ndarray:
    """Numbers of the boxes that survive NMS within their groups."""
    import torch
    from torchvision.ops import batched_nms

    return batched_nms(
        torch.from_numpy(boxes), torch.from_numpy(score), torch.from_numpy(group), iou
    ).numpy()
