"""Segments of one image, from a grounder and a segmenter whose answers are known."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from captionseg.grounding.grounder import Boxes, Query
from captionseg.segment_text.maker import (
    Maker,
    View,
    has_words,
    hash_segment,
    measure_area,
    select_best,
)
from captionseg.segment_text.phrases import CaptionPhrases, Phrase
from captionseg.segment_text.rle import decode

ANSWERS = {
    "a dog": [(0, 0, 10, 10, 0.9)],
    "dog": [(0, 0, 10, 9, 0.6), (20, 20, 30, 30, 0.5)],
    "grass": [(0, 0, 40, 39, 0.8)],
    "fly": [(5, 5, 6, 6, 0.7)],
    "crumb": [(5.2, 5.2, 5.8, 5.8, 0.7)],
    "ghost": [],
}


class Table:
    """Answers from ANSWERS; remembers the query."""

    def __init__(self, unassigned: int = 0, cut: int = 0) -> None:
        self.unassigned, self.cut = unassigned, cut
        self.query: Query | None = None
        self.queries: list[tuple[list[str], Query | None]] = []

    def prepare(self, phrases: Sequence[str]) -> None: ...

    def boxes(
        self,
        image: np.ndarray,
        phrases: Sequence[str],
        *,
        dense: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        query: Query | None = None,
    ) -> Boxes:
        self.query = query
        self.queries.append((list(phrases), query))
        found = [(*box, i) for i, phrase in enumerate(phrases) for box in ANSWERS[phrase]]
        rows = np.array(found, np.float32).reshape(-1, 6)
        return Boxes(
            rows[:, :4], rows[:, 5].astype(np.int32), rows[:, 4], self.unassigned, self.cut
        )


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


def phrases(*texts: str) -> list[CaptionPhrases]:
    """Texts to look for in an image without a caption."""
    return [
        CaptionPhrases(
            "", tuple(Phrase(text, "phrase" if " " in text else "concept") for text in texts)
        )
    ]


def test_near_duplicates_become_one_segment_with_both_texts() -> None:
    rows, count = Maker(Table(), Filled(), "t+f").make_segments(VIEW, phrases("a dog", "dog"))
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
    rows, _ = Maker(Table(), segmenter, "").make_segments(VIEW, phrases("grass"))
    assert rows[0]["full_image"]
    assert rows[0]["area"] == 1600
    assert rows[0]["stability"] == 1
    assert segmenter.asked == 0
    rows, _ = Maker(Table(), segmenter, "", full_image_share=0.99).make_segments(
        VIEW, phrases("grass")
    )
    assert not rows[0]["full_image"]
    assert rows[0]["area"] == 1560


def test_what_is_lost_is_counted_by_reason() -> None:
    maker = Maker(Table(), Filled(), "", min_area=50, min_stability=0.95)
    rows, count = maker.make_segments(VIEW, phrases("fly", "ghost", "dog"))
    assert len(rows) == 1
    assert {k: v for k, v in count.items() if v} == {
        "images": 1,
        "captions": 1,
        "captions_empty": 1,
        "phrases": 3,
        "boxes": 3,
        "phrases_without_box": 1,
        "masks_too_small": 1,
        "masks_unstable": 1,
    }


@pytest.mark.parametrize("texts", [(), ("ghost",)])
def test_an_image_without_boxes_has_no_segments(texts: tuple[str, ...]) -> None:
    rows, count = Maker(Table(), Filled(), "").make_segments(VIEW, phrases(*texts))
    assert rows == []
    assert count["images_without_segments"] == 1
    assert count["images_without_phrases"] == (not texts)
    assert count["images_without_boxes"] == len(texts)


def test_a_mask_that_vanishes_is_counted_apart_from_one_that_is_too_small() -> None:
    rows, count = Maker(Table(), Filled(), "", min_area=2).make_segments(
        VIEW, phrases("crumb", "fly")
    )
    assert rows == []
    assert {k: v for k, v in count.items() if v} == {
        "images": 1,
        "captions": 1,
        "captions_empty": 1,
        "phrases": 2,
        "boxes": 2,
        "masks_empty": 1,
        "masks_too_small": 1,
        "images_without_segments": 1,
    }


@pytest.mark.parametrize(("least", "area"), [(1, 10), (11, None)])
def test_a_picture_of_ten_pixels_is_a_segment_unless_that_is_too_small(
    least: int, area: int | None
) -> None:
    view = View("u", np.zeros((1, 10, 3), np.uint8))
    rows, count = Maker(Table(), Filled(), "", min_area=least).make_segments(view, phrases("a dog"))
    assert [row["area"] for row in rows] == ([area] if area else [])
    assert all(row["full_image"] and row["bbox"] == [0, 0, 10, 1] for row in rows)
    assert count["masks_too_small"] == count["images_without_segments"] == (area is None)


def test_a_found_phrase_gives_both_its_texts_and_the_grounder_hears_where_it_stands() -> None:
    asked = [
        Phrase("a dog", "phrase", "a dog in the grass", ((4, 9), (20, 25))),
        Phrase("dog", "concept"),
    ]
    grounder = Table(unassigned=3, cut=1)
    rows, count = Maker(grounder, Filled(), "").make_segments(
        VIEW, [CaptionPhrases("See a dog in the grass.", tuple(asked))]
    )
    assert grounder.query == Query("See a dog in the grass.", (((4, 9), (20, 25)), ()))
    assert rows[0]["bbox"] == [0, 0, 10, 10]
    assert [(t["text"], t["kind"], round(t["score"], 2)) for t in rows[0]["texts"]] == [
        ("a dog", "phrase", 0.9),
        ("a dog in the grass", "expression", 0.9),
        ("dog", "concept", 0.6),
    ]
    assert [t["text"] for t in rows[1]["texts"]] == ["dog"]
    assert (count["expressions"], count["boxes_unassigned"], count["captions_cut"]) == (1, 3, 1)
    Maker(grounder, Filled(), "").make_segments(VIEW, [CaptionPhrases("", tuple(asked))])
    assert grounder.query is None


def test_each_caption_is_grounded_against_itself_and_what_is_found_is_merged_over_all() -> None:
    first = CaptionPhrases(
        "A dog.", (Phrase("a dog", "phrase", spans=((0, 5),)), Phrase("fly", "concept", caption=-1))
    )
    second = CaptionPhrases(
        "Grass, and a dog.",
        (
            Phrase("grass", "phrase", spans=((0, 5),), caption=1),
            Phrase("dog", "phrase", spans=((13, 16),), caption=1),
            Phrase("a dog", "phrase", "a dog and", spans=((11, 16),), caption=1),
        ),
    )
    grounder = Table(unassigned=2, cut=1)
    rows, count = Maker(grounder, Filled(), "").make_segments(
        VIEW, [first, second, CaptionPhrases("?!", ())]
    )
    assert grounder.queries == [
        (["a dog", "fly"], Query("A dog.", (((0, 5),), ()))),
        (
            ["grass", "dog", "a dog"],
            Query("Grass, and a dog.", (((0, 5),), ((13, 16),), ((11, 16),))),
        ),
        ([], Query("?!", ())),
    ]
    dog = next(row for row in rows if row["bbox"] == [0, 0, 10, 10])
    assert [(t["text"], t["kind"], t["caption"], t["count"]) for t in dog["texts"]] == [
        ("a dog", "phrase", 0, 2),  # of both captions with the same score: the original one's
        ("a dog and", "expression", 1, 1),
        ("dog", "phrase", 1, 1),
    ]
    assert [[t["text"] for t in row["texts"]] for row in rows if row is not dog] == [
        ["fly"],
        ["grass"],
        ["dog"],
    ]
    assert next(row for row in rows if row["full_image"])["texts"][0]["caption"] == 1
    assert next(t for row in rows for t in row["texts"] if t["kind"] == "concept")["caption"] == -1
    assert {
        name: count[name] for name in ("images", "captions", "captions_empty", "phrases", "boxes")
    } == {"images": 1, "captions": 3, "captions_empty": 1, "phrases": 5, "boxes": 6}
    assert (count["boxes_unassigned"], count["captions_cut"], count["masks_merged"]) == (6, 3, 2)


def test_the_best_boxes_are_those_of_all_captions_together() -> None:
    captions = [*phrases("dog"), *phrases("fly", "a dog")]
    rows, count = Maker(Table(), Filled(), "", max_boxes=2).make_segments(VIEW, captions)
    assert (count["boxes"], count["boxes_beyond_limit"]) == (4, 2)
    assert [[t["text"] for t in row["texts"]] for row in rows] == [["fly"], ["a dog"]]


@pytest.mark.parametrize(
    ("caption", "said"), [("", False), (" .,! \n…", False), ("é", True), ("3", True)]
)
def test_captions_that_say_nothing(caption: str, said: bool) -> None:
    assert has_words(caption) == said


def test_stability_at_the_threshold_is_enough_and_area_too() -> None:
    rows, _ = Maker(Table(), Filled(), "", min_stability=0.9, min_area=90).make_segments(
        VIEW, phrases("dog")
    )
    assert [row["bbox"] for row in rows] == [[0, 0, 10, 9], [20, 20, 10, 10]]
    rows, _ = Maker(Table(), Filled(), "", min_stability=0.91, min_area=90).make_segments(
        VIEW, phrases("dog")
    )
    assert [row["bbox"] for row in rows] == [[20, 20, 10, 10]]
    rows, _ = Maker(Table(), Filled(), "", min_area=91).make_segments(VIEW, phrases("dog"))
    assert [row["bbox"] for row in rows] == [[20, 20, 10, 10]]


@pytest.mark.parametrize(("width", "whole"), [(36.0, False), (36.01, True)])
def test_exactly_the_share_of_a_whole_picture_is_not_the_whole(
    width: float, whole: bool, monkeypatch
) -> None:
    # what lies outside does not count: .9 at 36
    monkeypatch.setitem(ANSWERS, "ghost", [(-5, -5, width, 80, 0.5)])
    segmenter = Filled()
    rows, _ = Maker(Table(), segmenter, "").make_segments(VIEW, phrases("ghost"))
    assert (rows[0]["full_image"], segmenter.asked) == (whole, int(not whole))


def test_of_too_many_boxes_the_best_are_kept_in_their_order_and_the_others_counted() -> None:
    rows, count = Maker(Table(), Filled(), "", max_boxes=2).make_segments(
        VIEW, phrases("dog", "fly", "a dog")
    )
    assert count["boxes"] == 4
    assert count["boxes_beyond_limit"] == 2  # .9 and .7 stay
    assert [[t["text"] for t in row["texts"]] for row in rows] == [["fly"], ["a dog"]]
    even = Boxes(
        np.arange(12, dtype=np.float32).reshape(3, 4),
        np.arange(3, dtype=np.int32),
        np.ones(3, np.float32),
        5,
    )
    assert select_best(even, 2).phrase.tolist() == [0, 1]
    assert select_best(even, 2).unassigned == 5
    assert len(select_best(even, 3)) == 3


def test_ids_are_of_image_and_mask() -> None:
    assert hash_segment("u", "22") == hash_segment("u", "22") != hash_segment("v", "22")
    assert len(hash_segment("u", "22")) == 40


def test_area_share_counts_only_what_lies_in_the_picture() -> None:
    boxes = np.array([[0, 0, 20, 20], [-20, 0, 60, 40]], np.float32)
    assert measure_area(boxes, VIEW.image) == pytest.approx([0.25, 1.0])


class WithMasks(Table):
    """A grounder whose masks are the left halves of its boxes, of stability .5."""

    def boxes(self, image: np.ndarray, phrases: Sequence[str], **more: Any) -> Boxes:
        found = super().boxes(image, phrases, **more)
        halves = found.boxes * np.array([1, 1, 0.5, 1], np.float32)
        masks, _ = Filled().masks(image, halves)
        return replace(
            found, masks=masks.astype(bool), stability=np.full(len(found), 0.5, np.float32)
        )


def test_masks_of_a_grounder_are_used_as_they_are_and_no_box_is_the_whole_picture() -> None:
    maker = Maker(WithMasks(), None, "t", min_area=2, max_boxes=3)
    rows, count = maker.make_segments(VIEW, [*phrases("fly"), *phrases("grass", "a dog", "ghost")])
    assert [(row["bbox"], row["full_image"], row["stability"]) for row in rows] == [
        ([0, 0, 20, 39], False, 0.5),
        ([0, 0, 5, 10], False, 0.5),
    ]
    assert [row["texts"][0]["text"] for row in rows] == ["grass", "a dog"]
    assert (count["boxes"], count["masks_empty"]) == (3, 1)
    assert maker.make_segments(VIEW, [])[0] == maker.make_segments(VIEW, phrases("ghost"))[0] == []
