"""Boxes and masks with texts from files: each layout by hand, and through the whole stage."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captionseg.grounding.precomputed import Precomputed
from captionseg.records import UserError
from captionseg.segment_text import given
from captionseg.segment_text.export import export_sa1b
from captionseg.segment_text.given import Given, find_given, read_given, refuse_given
from captionseg.segment_text.rle import decode, encode
from captionseg.segmenters.superpixels import Superpixels
from captionseg.storage.folders import read_tables
from tests.captionseg.segment_text.test_pipeline import PARAMS, ready, run

__all__ = ["ready"]

SQUARE = [[2, 1, 6, 1, 6, 4, 2, 4]]
"""A polygon: columns 2 to 5, rows 1 to 3."""

COCO = {
    "info": {"year": 2017},
    "annotations": [
        {"image_id": 7, "category_id": 3, "bbox": [2, 1, 4, 3], "segmentation": SQUARE},
        {"image_id": 7, "category_id": 3, "bbox": [0, 0, 4, 2], "phrase": "the left dog"},
        {
            "image_id": 9,
            "category_id": 3,
            "bbox": [0, 0, 2, 1],
            "iscrowd": 1,
            "segmentation": {"size": [2, 2], "counts": [0, 1, 1, 1, 1]},
        },
    ],
    "images": [
        {"id": 7, "file_name": "train/000007.jpg", "height": 5, "width": 8},
        {"id": 9, "file_name": "000009.jpg", "height": 2, "width": 2},
    ],
    "categories": [{"id": 3, "name": "dog"}],
}


def write(folder: Path, value: Any, name: str = "given.json") -> Path:
    (folder / name).write_text(json.dumps(value))
    return folder / name


def test_visual_genome(tmp_path):
    regions = [{"phrase": "a man on a horse", "x": 3, "y": 4, "width": 10, "height": 20}]
    path = write(tmp_path, [{"id": 1, "regions": regions}, {"id": 2, "regions": []}])
    assert read_given(path) == {"1": [Given("a man on a horse", "expression", (3, 4, 13, 24))]}
    objects = [{"names": ["man", "rider"], "x": 3, "y": 4, "w": 10, "h": 20}]
    path = write(tmp_path, [{"image_id": 1, "objects": objects}])
    box = (3, 4, 13, 24)
    assert read_given(path) == {"1": [Given("man", "phrase", box), Given("rider", "phrase", box)]}


def test_coco_with_polygons_phrases_and_crowds(tmp_path):
    found = read_given(write(tmp_path, COCO))
    first, second = found["000007"]
    assert (first.text, first.kind, first.box, first.size) == (
        "dog",
        "phrase",
        (2, 1, 6, 4),
        (5, 8),
    )
    expected = np.zeros((5, 8), bool)
    expected[1:4, 2:6] = True
    assert (decode([first.rle], 5, 8)[0] == expected).all()
    assert second == Given("the left dog", "phrase", (0, 0, 4, 2))
    (crowd,) = found["000009"]
    assert decode([crowd.rle], 2, 2)[0].tolist() == [[True, True], [False, False]]


def test_sa1b_in_a_folder_of_files(tmp_path):
    mask = np.zeros((1, 4, 6), bool)
    mask[0, 1:3, 2:] = True
    rle = {"size": [4, 6], "counts": encode(mask)[0][0]}
    one = {"segmentation": rle, "bbox": [2, 1, 4, 2], "texts": ["a cup"]}
    unnamed = {"segmentation": rle, "bbox": [2, 1, 4, 2]}
    image = {"image_id": 5, "file_name": "sa_5.jpg", "height": 4, "width": 6}
    write(tmp_path, {"image": image, "annotations": [one, unnamed]}, "sa_5.json")
    (found,) = read_given(tmp_path)["sa_5"]
    assert found == Given("a cup", "phrase", (2, 1, 6, 3), rle["counts"], (4, 6))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": 1}, "has no box and no mask with a text"),
        ([], "has no box and no mask with a text"),
        ([{"id": 1}], "not a layout of Visual Genome, COCO or SA-1B: KeyError: 'objects'"),
        ({**COCO, "images": []}, "not a layout of Visual Genome, COCO or SA-1B: KeyError: 7"),
        ("text", "no JSON list or object"),
    ],
)
def test_other_files_are_one_line(tmp_path, value, message):
    with pytest.raises(UserError, match=r"segment_text\.precomputed\.file: ") as caught:
        read_given(write(tmp_path, value))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_given(tmp_path / "none.json")


def test_pictures_are_found_by_the_stem_of_their_name_or_their_key():
    row = {"width": 4, "height": 5, "original_width": 8, "original_height": 10}
    known = {
        "12": [Given("a cup", "phrase", (2, 5, 9, 10))],
        "k": [Given("b", "phrase", (0, 0, 1, 1))],
    }
    rows = [
        {"url": "https://a.b/VG_100K/12.jpg?x=1", "key": "", **row},
        {"url": "/a/13.jpg", "key": "k", **row},
        {"url": "14", "key": "", **row},
    ]
    first, second, third = find_given(known, rows)
    assert first[0]["box"] == [0.25, 0.5, 1.0, 1.0]
    assert (second[0]["text"], third) == ("b", [])
    with pytest.raises(UserError, match=r"f\.json has 2 pictures, such as '12', and none of them"):
        refuse_given(known, 1, "14", "f.json")


def squares_of(kind: str) -> dict[str, Any]:
    """The squares of `ready` in COCO's layout, in pictures of twice the size."""
    images = [{"id": n, "file_name": f"{n}.jpg", "height": 128, "width": 128} for n in range(6)]
    annotations = []
    for n in range(6):
        x, y = 32, 64 * (n % 2)
        corners = [[x, y, x + 64, y, x + 64, y + 64, x, y + 64]]
        mask = {"segmentation": corners} if kind == "masks" else {}
        annotations.append({"image_id": n, "category_id": 1, "bbox": [x, y, 64, 64], **mask})
    names = [{"id": 1, "name": "square"}]
    return {"images": images, "annotations": annotations, "categories": names}


class Refusing(Superpixels):
    """A segmenter that may not be asked."""

    def build(self):  # type: ignore[override]
        return None


@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_what_a_file_says_becomes_segments(ready, tmp_path, kind, monkeypatch):
    file = write(tmp_path, squares_of(kind))
    describe, twice = given._describe, {"original_width": 128, "original_height": 128}
    monkeypatch.setattr(given, "_describe", lambda one, row: describe(one, {**row, **twice}))
    params = replace(PARAMS, grounder="precomputed", precomputed=Precomputed(str(file)))
    if kind == "masks":
        params = replace(params, superpixels=Refusing())
    result = run(ready, params=params)
    rows = read_tables(ready / "segments").to_pylist()
    assert len(rows) == result["images"] == 5
    for number, row in enumerate(rows):
        assert row["texts"] == [
            {"text": "square", "kind": "phrase", "score": 1.0, "caption": -1, "count": 1}
        ]
        top = 32 * (number % 2)
        assert row["bbox"] == [16, top, 32, 32]
        assert row["area"] == 1024
    assert (result["captions"], result["phrases"]) == (0, 5)


def test_segments_that_were_exported_are_read_again(ready, tmp_path):
    run(ready)
    export_sa1b(ready / "segments", ready / "pairs", tmp_path / "out")
    before = read_tables(ready / "segments").to_pylist()
    params = replace(
        PARAMS, grounder="precomputed", precomputed=Precomputed(str(tmp_path / "out")), nms_iou=1.0
    )
    run(ready, "again", params)
    after = read_tables(ready / "again").to_pylist()

    def describe(rows):
        return {(row["segment_id"], text["text"]) for row in rows for text in row["texts"]}

    assert describe(after) == describe(before)
