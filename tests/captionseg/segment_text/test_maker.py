"""Segments of one image, from a grounder and a segmenter whose answers are known."""

from collections.abc import Sequence

import numpy as np
import pytest

from captionseg.grounding import Boxes
from captionseg.segment_text.maker import Maker, View, area_share, segment_id
from captionseg.segment_text.phrases import Phrase
from captionseg.segment_text.rle import decode

ANSWERS = {
    "a dog": [(0, 0, 10, 10, 0.9)],
    "dog": [(0, 0, 10, 9, 0.6), (20, 20, 30, 30, 0.5)],
    "grass": [(0, 0, 40, 39, 0.8)],
    "fly": [(5, 5, 6, 6, 0.7)],
    "ghost": [],
}


class Table:
    """Answers from ANSWERS."""

    def prepare(self, phrases: Sequence[str]) -> None: ...

    def boxes(self, image: np.ndarray, phrases: Sequence[str], *, dense: object, labels: object) -> Boxes:
        found = [(*box, i) for i, phrase in enumerate(phrases) for box in ANSWERS[phrase]]
        rows = np.array(found, np.float32).reshape(-1, 6)
        return Boxes(rows[:, :4], rows[:, 5].astype(np.int32), rows[:, 4])


class Filled:
    """The mask of a box is the box. It is told how stable each is by the box's height."""

    asked = 0

    def masks(
        self, image: np.ndarray, boxes: np.ndarray, *, labels: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        self.asked += len(boxes)
        y, x = np.mgrid[: image.shape[0], : image.shape[1]]
        masks = [(x >= x0) & (x < x1) & (y >= y0) & (y < y1) for x0, y0, x1, y1 in boxes]
        return np.array(masks).reshape(-1, *image.shape[:2]), (boxes[:, 3] - boxes[:, 1]) / 10


VIEW = View("u", np.zeros((40, 40, 3), np.uint8))


def phrases(*texts: str) -> list[Phrase]:
    return [Phrase(text, "phrase" if " " in text else "concept") for text in texts]


def test_near_duplicates_become_one_segment_with_both_texts() -> None:
    rows, count = Maker(Table(), Filled(), "t+f").segments(VIEW, phrases("a dog", "dog"))
    first = next(row for row in rows if row["bbox"] == [0, 0, 10, 10])  # the more stable of the two
    assert [t["text"] for t in first["texts"]] == ["a dog", "dog"]
    assert [t["kind"] for t in first["texts"]] == ["phrase", "concept"]
    assert first["area"] == decode([first["rle"]], 40, 40).sum() == 100
    assert first["score"] == pytest.approx(0.9)
    assert first["source"] == "t+f"
    assert len(rows) == 2
    assert count["masks_merged"] == 1
    assert count["boxes"] == 3


def test_a_box_of_nearly_everything_is_the_whole_picture_and_no_mask_is_asked_for() -> None:
    segmenter = Filled()
    rows, _ = Maker(Table(), segmenter, "").segments(VIEW, phrases("grass"))
    assert rows[0]["full_image"]
    assert rows[0]["area"] == 1600
    assert rows[0]["stability"] == 1
    assert segmenter.asked == 0
    rows, _ = Maker(Table(), segmenter, "", full_image_share=0.99).segments(VIEW, phrases("grass"))
    assert not rows[0]["full_image"]
    assert rows[0]["area"] == 1560


def test_what_is_lost_is_counted_by_reason() -> None:
    maker = Maker(Table(), Filled(), "", min_area=50, min_stability=0.95)
    rows, count = maker.segments(VIEW, phrases("fly", "ghost", "dog"))
    assert len(rows) == 1
    assert {k: v for k, v in count.items() if v} == {
        "images": 1,
        "phrases": 3,
        "boxes": 3,
        "phrases_without_box": 1,
        "masks_too_small": 1,
        "masks_unstable": 1,
    }


@pytest.mark.parametrize("texts", [(), ("ghost",)])
def test_an_image_without_boxes_has_no_segments(texts: tuple[str, ...]) -> None:
    rows, count = Maker(Table(), Filled(), "").segments(VIEW, phrases(*texts))
    assert rows == []
    assert count["images_without_segments"] == 1
    assert count["images_without_phrases"] == (not texts)


def test_ids_are_of_image_and_mask() -> None:
    assert segment_id("u", "22") == segment_id("u", "22") != segment_id("v", "22")
    assert len(segment_id("u", "22")) == 40


def test_area_share_counts_only_what_lies_in_the_picture() -> None:
    boxes = np.array([[0, 0, 20, 20], [-20, 0, 60, 40]], np.float32)
    assert area_share(boxes, VIEW.image) == pytest.approx([0.25, 1.0])
