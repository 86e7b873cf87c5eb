"""Recall and text precision, by hand."""

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from captionseg.records import SEGMENTS, TRUTH
from captionseg.segment_text.measure import build_namer, measure, measures
from captionseg.segment_text.rle import encode

NAMES = ("dog", "tall grass", "car")


def png(classes: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(classes.astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def segment(uid: str, mask: np.ndarray, *texts: str) -> dict:
    (rle,), (area,), (box,) = encode(mask[None])
    return {
        "uid": uid,
        "segment_id": rle,
        "width": mask.shape[1],
        "height": mask.shape[0],
        "rle": rle,
        "bbox": box.tolist(),
        "area": int(area),
        "stability": 1.0,
        "score": 1.0,
        "full_image": False,
        "source": "",
        "texts": [{"text": t, "kind": "phrase", "score": 1.0} for t in texts],
    }


def test_recall_and_precision_by_hand() -> None:
    classes = np.full((10, 10), 1)  # grass, a dog of 20 pixels, a column that is ignored
    classes[0:4, 0:5] = 0
    classes[:, 9] = 255
    dog, grass = classes == 0, classes == 1
    half = dog.copy()
    half[:, 0] = False  # IoU 16 / 20
    segments = pa.Table.from_pylist(
        [
            # dogs is right, grass is wrong, something counts not
            segment("u", half, "two dogs", "tall grass", "something"),
            # the grass is found, but nobody calls it so; "car" is not in "carpet"
            segment("u", grass, "a carpet"),
            segment("elsewhere", grass, "dog"),
        ],
        schema=SEGMENTS,
    )
    truth = pa.Table.from_pylist(
        [{"uid": "u", "concepts": ["dog", "tall grass"], "mask": png(classes)}], schema=TRUTH
    )
    assert measure(segments, truth, NAMES) == pytest.approx(
        {"recall": 1.0, "named_recall": 0.5, "mean_iou": (0.8 + 1.0) / 2, "text_precision": 0.5}
    )
    assert measure(segments.slice(2), truth, NAMES) == {}


def test_expressions_are_not_held_to_what_they_say_beside_their_phrase() -> None:
    row = segment("a", np.ones((2, 2), bool), "a car", "a car beside a dog")
    row["texts"][1]["kind"] = "expression"  # as a phrase it would name a dog, which the segment is
    truth = [{"uid": "a", "concepts": ["dog"], "mask": png(np.zeros((2, 2)))}]
    tables = pa.Table.from_pylist([row], schema=SEGMENTS), pa.Table.from_pylist(truth, schema=TRUTH)
    found = measure(*tables, NAMES)
    assert (found["recall"], found["named_recall"], found["text_precision"]) == (1, 0, 0)


def test_only_texts_of_some_kinds_and_the_segments_that_have_one() -> None:
    dog = np.array([[True, False], [True, False]])
    rows = [
        segment("a", dog, "a dog", "car"),
        segment("a", ~dog, "tall grass"),
        segment("b", dog, "tall grass"),
    ]
    rows[0]["texts"][1]["kind"] = rows[1]["texts"][0]["kind"] = rows[2]["texts"][0]["kind"] = (
        "concept"
    )
    truth = [{"uid": uid, "concepts": ["dog", "tall grass"], "mask": png(~dog)} for uid in "ab"]
    tables = pa.Table.from_pylist(rows, schema=SEGMENTS), pa.Table.from_pylist(truth, schema=TRUTH)
    found = measures(*tables, NAMES, {"every": ("phrase", "concept"), "captions": ("phrase",)})
    every, captions = found["every"], found["captions"]
    assert (every["recall"], every["named_recall"], every["text_precision"]) == (0.75, 0.5, 0.5)
    # of "b" nothing is left, and its two true masks are missed
    assert (captions["recall"], captions["named_recall"], captions["text_precision"]) == (
        0.25,
        0.25,
        1,
    )


def test_images_are_spread_evenly() -> None:
    mask, classes = np.ones((2, 2), bool), np.zeros((2, 2))
    rows = [segment(f"{i}", mask, "dog" if i % 2 else "car") for i in range(10)]
    truth = [{"uid": f"{i}", "concepts": ["dog"], "mask": png(classes)} for i in range(10)]
    tables = pa.Table.from_pylist(rows, schema=SEGMENTS), pa.Table.from_pylist(truth, schema=TRUTH)
    assert measure(*tables, NAMES)["text_precision"] == 0.5
    assert measure(*tables, NAMES, images=5)["text_precision"] == 0.0  # 0, 2, 4, 6, 8


def test_names_are_matched_by_whole_words_in_a_row() -> None:
    texts = ["tall green grass", "some tall grass", "cars", "carpet"]
    assert build_namer(texts, NAMES) == {
        "tall green grass": set(),
        "some tall grass": {1},
        "cars": {2},
        "carpet": set(),
    }
