"""Phrases -> boxes -> masks -> merged segments of one image: USE's data pipeline (section 3.2),
captions given.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from captionseg.grounding.grounder import Boxes, Grounder, Query, join_boxes
from captionseg.segment_text.merge import merge_texts
from captionseg.segment_text.phrases import CaptionPhrases, Phrase
from captionseg.segment_text.rle import decode, encode
from captionseg.segmenters.interfaces import BoxSegmenter
from captionseg.segmenters.overlap import suppress


@dataclass(frozen=True)
class View:
    """One image with its features and regions.

    Attributes:
        uid: of its pair.
        image: uint8 [H, W, 3].
        dense: [gh, gw, F] frozen features, or None.
        labels: [side, side] class-agnostic regions, or None.
    """

    uid: str
    image: np.ndarray
    dense: np.ndarray | None = None
    labels: np.ndarray | None = None


@dataclass(frozen=True)
class Maker:
    """Makes the segments of one image.

    Attributes:
        grounder: phrases -> boxes.
        segmenter: boxes -> masks; None for a grounder that makes masks itself.
        source: names of both, for the column `source`.
        nms_iou: masks that overlap by more are merged.
        full_image_share: a box with a larger share of the image's area is the whole image; its mask
            is not computed.
        min_stability: less stable masks are dropped.
        min_area: smaller masks are dropped, in pixels.
        max_boxes: so many boxes, those of highest score, become masks.
    """

    grounder: Grounder
    segmenter: BoxSegmenter | None
    source: str
    nms_iou: float = 0.7
    full_image_share: float = 0.9
    min_stability: float = 0.0
    min_area: int = 1
    max_boxes: int = 1000

    def make_segments(
        self, view: View, captions: Sequence[CaptionPhrases]
    ) -> tuple[list[dict[str, Any]], Counter[str]]:
        """Make the segments of one image, rows of schema SEGMENTS, and count them as in
        `captionseg.segment_text.counts`.

        Args:
            view: the image.
            captions: all of its captions. Each is grounded by itself; what is found is merged over
                all of them.
        """
        phrases = [phrase for caption in captions for phrase in caption.phrases]
        boxes = self.find_boxes(view, captions)
        best = select_best(boxes, self.max_boxes)
        given = [phrases[int(n)] for n in best.phrase]
        is_full = measure_area(best.boxes, view.image) > self.full_image_share
        is_full &= np.array([not phrase.rle for phrase in given], bool) & (best.masks is None)
        masks, stability = self.make_masks(view, best, is_full, given)
        area = masks.sum(axis=(1, 2))
        large, stable = area >= max(1, self.min_area), stability >= self.min_stability
        valid = np.flatnonzero(large & stable)
        owner = valid[suppress(masks[valid], stability[valid], best.score[valid], iou=self.nms_iou)]
        survivors = np.unique(owner)
        box_texts = [
            phrases[int(n)].texts(float(score))
            for n, score in zip(best.phrase, best.score, strict=True)
        ]
        texts = [
            merge_texts(text for i in valid[owner == s] for text in box_texts[i]) for s in survivors
        ]
        numbers = {
            "stability": stability[survivors],
            "score": best.score[survivors],
            "full_image": is_full[survivors],
        }
        count = count_requests(captions, boxes)
        count.update(
            boxes_beyond_limit=len(boxes) - len(best),
            masks_empty=int((area == 0).sum()),
            masks_too_small=int(((area > 0) & ~large).sum()),
            masks_unstable=int((large & ~stable).sum()),
            masks_merged=len(valid) - len(survivors),
            images_without_segments=int(not len(survivors)),
        )
        return self.make_rows(view, masks[survivors], texts, numbers), count

    def find_boxes(self, view: View, captions: Sequence[CaptionPhrases]) -> Boxes:
        """Ground all captions; phrase numbers continue from one caption to the next.

        Phrases that come with their boxes are not searched for.
        """
        per_caption, offset = [], 0
        for caption in captions:
            query = (
                Query(caption.text, tuple(p.spans for p in caption.phrases))
                if caption.text
                else None
            )
            boxes = take_given(caption, view.image) or self.grounder.boxes(
                view.image,
                [p.text for p in caption.phrases],
                dense=view.dense,
                labels=view.labels,
                query=query,
            )
            per_caption.append(replace(boxes, phrase=boxes.phrase + np.int32(offset)))
            offset += len(caption.phrases)
        return join_boxes(per_caption)

    def make_masks(
        self, view: View, boxes: Boxes, is_full: np.ndarray, given: Sequence[Phrase]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Make the masks of boxes: those of the grounder, or of the segmenter.

        Args:
            view: the image.
            boxes: n boxes.
            is_full: [n] bool, boxes that are the whole image, with stability 1.
            given: [n] phrases of the boxes; one that comes with its mask keeps it, with stability
                1.

        Returns:
            [n, H, W] bool masks and [n] stabilities.
        """
        if boxes.masks is not None and boxes.stability is not None:
            return boxes.masks, boxes.stability
        masks, stability = (
            np.ones((len(boxes), *view.image.shape[:2]), bool),
            np.ones(len(boxes), np.float32),
        )
        is_left = ~is_full
        for number, phrase in enumerate(given):
            if phrase.rle:
                masks[number], is_left[number] = decode_resized(phrase, view.image), False
        if is_left.any():
            assert self.segmenter is not None, "a grounder without masks needs a segmenter"
            masks[is_left], stability[is_left] = self.segmenter.masks(
                view.image, boxes.boxes[is_left], labels=view.labels
            )
        return masks, stability

    def make_rows(
        self, view: View, masks: np.ndarray, texts: list[list[dict]], numbers: dict[str, np.ndarray]
    ) -> list[dict[str, Any]]:
        """Rows of schema SEGMENTS.

        Args:
            view: the image.
            masks: [n, H, W] bool.
            texts: of each segment.
            numbers: column -> [n] values.
        """
        height, width = view.image.shape[:2]
        return [
            {
                "uid": view.uid,
                "segment_id": hash_segment(view.uid, rle),
                "width": width,
                "height": height,
                "rle": rle,
                "bbox": box.tolist(),
                "area": int(area),
                "source": self.source,
                "texts": texts[i],
                **{name: values[i].item() for name, values in numbers.items()},
            }
            for i, (rle, area, box) in enumerate(zip(*encode(masks), strict=True))
        ]


def take_given(caption: CaptionPhrases, image: np.ndarray) -> Boxes | None:
    """Return the boxes that phrases come with, with score 1; None if they come without.

    Args:
        caption: the phrases, all with boxes or all without.
        image: the picture [H, W, 3].
    """
    boxes = [phrase.box for phrase in caption.phrases if phrase.box is not None]
    if not boxes:
        return None
    sides = np.array([*image.shape[1::-1]] * 2, np.float32)
    count = len(boxes)
    return Boxes(
        np.array(boxes, np.float32) * sides,
        np.arange(count, dtype=np.int32),
        np.ones(count, np.float32),
    )


def decode_resized(phrase: Phrase, image: np.ndarray) -> np.ndarray:
    """Return the mask [H, W] that a phrase comes with, in the size of a picture [H, W, 3]."""
    mask = decode([phrase.rle], *phrase.size)[0]
    rows, columns = (
        ((np.arange(side) + 0.5) * own / side).astype(int)
        for side, own in zip(image.shape[:2], mask.shape, strict=True)
    )
    return mask[rows[:, None], columns]


def count_requests(captions: Sequence[CaptionPhrases], boxes: Boxes) -> Counter[str]:
    """Count the captions and phrases of one image, and the boxes that its grounder found."""
    phrases = [phrase for caption in captions for phrase in caption.phrases]
    spoken = [one for one in captions if all(phrase.box is None for phrase in one.phrases)]
    return Counter(
        images=1,
        captions=len(spoken),
        captions_empty=sum(not has_words(caption.text) for caption in spoken),
        images_without_phrases=int(not phrases),
        images_without_boxes=int(bool(phrases) and not len(boxes)),
        phrases=len(phrases),
        expressions=sum(bool(p.expression) for p in phrases),
        phrases_without_box=len(phrases) - len(np.unique(boxes.phrase)),
        boxes=len(boxes),
        boxes_unassigned=boxes.unassigned,
        captions_cut=boxes.cut,
    )


def has_words(caption: str) -> bool:
    """Whether a caption has any letter or digit."""
    return any(character.isalnum() for character in caption)


def select_best(boxes: Boxes, limit: int) -> Boxes:
    """The boxes of highest score, at most `limit`, in their order."""
    return boxes.take(np.sort(np.argsort(-boxes.score, kind="stable")[:limit]))


def hash_segment(uid: str, rle: str) -> str:
    """sha1 of uid and RLE, 40 hex digits: the same segment has the same name in every run."""
    return hashlib.sha1(f"{uid}\0{rle}".encode(), usedforsecurity=False).hexdigest()


def measure_area(boxes: np.ndarray, image: np.ndarray) -> np.ndarray:
    """[n] share of the image's area that each box [n, 4] x0 y0 x1 y1 covers, 0 to 1."""
    size = image.shape[1::-1]
    sides = np.clip(boxes[:, 2:], 0, size) - np.clip(boxes[:, :2], 0, size)
    return sides.prod(axis=1) / (size[0] * size[1])
