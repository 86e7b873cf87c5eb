"""Masks of COCO's JSON: the same as COCO's own code reads, and one line for whatever is none."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pycocotools import mask as coco

from captionseg.benchmarks.coco_json import decompress_counts, mask_of, read_instances
from captionseg.records import UserError
from tests.captionseg.benchmarks.trees import rle, write_coco


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.98, 1.0])
@pytest.mark.parametrize("compressed", [True, False])
def test_run_lengths_are_what_was_written(share, compressed):
    """Also long runs, whose lengths take several characters, and their negative differences."""
    mask = np.random.default_rng(0).random((97, 61)) < share
    mask[:40, 3] = True
    np.testing.assert_array_equal(mask_of(rle(mask, compressed=compressed), mask.shape), mask)


def test_strings_are_read_as_by_cocos_own_code():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        mask = rng.random((int(rng.integers(1, 40)), int(rng.integers(1, 400)))) < rng.random() ** 4
        found = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        counts = decompress_counts(found["counts"].decode())
        again = coco.frPyObjects({"size": list(mask.shape), "counts": counts}, *mask.shape)  # type: ignore[call-overload]
        assert again["counts"] == found["counts"]


def test_polygons():
    """A square of 4 x 3 pixels and one that reaches out of the picture; the mask is both."""
    found = mask_of(
        [[2, 1, 6, 1, 6, 4, 2, 4], [8.0, 5.0, 19.0, 5.0, 19.0, 19.0, 8.0, 19.0]], (8, 10)
    )
    want = np.zeros((8, 10), bool)
    want[1:4, 2:6] = want[5:, 8:] = True
    np.testing.assert_array_equal(found, want)
    assert not mask_of([], (8, 10)).any()


HOSTILE = [
    ({"size": [8, 10], "counts": [0, 81]}, "do not add up to 8 x 10"),
    ({"size": [8, 10], "counts": [10**30, -(10**30), 80]}, "do not add up"),
    ({"size": [8, 10], "counts": [40.0, 40.0]}, "do not add up"),
    ({"size": [10**9, 10**9], "counts": "abc"}, "but the picture has"),
    ({"size": [8, 10], "counts": "oooooooooo1"}, "not COCO's"),  # a length beyond all bounds
    ({"size": [8, 10], "counts": "P"}, "cut off"),
    ({"size": [8, 10], "counts": " "}, "not COCO's"),
    ({"size": [8, 10], "counts": "é"}, "ascii"),
    ([[0, 0, 1e9, 0, 1e9, 1e9]], "far outside"),
    ([[0, 0, float("nan"), 0, 3, 3]], "far outside"),
    ([[1, 2, 3, 4]], "three pairs"),  # COCO's code takes four numbers for a box
    ([[1, 2, 3, 4, 5, 6, 7]], "three pairs"),
    ([[[1, 2], [3, 4], [5, 6]]], "three pairs"),
    ("counts", "neither"),
]


@pytest.mark.parametrize(("segmentation", "said"), HOSTILE)
def test_what_is_no_mask_is_refused(segmentation, said):
    with pytest.raises(ValueError, match=said):
        mask_of(segmentation, (8, 10))


def test_the_table(tmp_path):
    path = tmp_path / "a.json"
    write_coco(path, ["cat", "dog"], [[(1, []), (0, [])], []])
    names, pictures = read_instances(path)
    assert names == ("cat", "dog")
    assert [(p.name, p.size, [i.label for i in p.instances]) for p in pictures] == [
        ("n01_0.JPEG", (12, 16), [1, 0]),
        ("n01_1.JPEG", (12, 16), []),
    ]
    table = json.loads(path.read_text())
    table["annotations"][0]["iscrowd"] = 1
    table["categories"] = [{"id": 7, "name": "seven"}, {"id": 0, "name": "zero"}]
    table["annotations"][1]["category_id"] = 7
    path.write_text(json.dumps(table))
    names, pictures = read_instances(path)
    assert names == ("zero", "seven")  # by their ids
    assert [i.label for i in pictures[0].instances] == [1]  # the crowd is left out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not COCO JSON"),
        ("[]", "not COCO JSON"),
        ("[" * 100_000, "not COCO JSON"),
        (
            '{"images": [], "annotations": [], "categories": [{"id": 0, "name": "a"}]}',
            "has no images",
        ),
        (
            '{"images": [{"id": 0, "file_name": "a", "height": 1, "width": 1}], "annotations": '
            '[], "categories": []}',
            "has no categories",
        ),
        (
            '{"images": [], "annotations": [{"image_id": 4, "category_id": 0, "segmentation": '
            '[]}], "categories": []}',
            "not COCO JSON",
        ),
    ],
)
def test_other_files_are_one_line(tmp_path, text, said):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=said):
        read_instances(tmp_path / "a.json")
    with pytest.raises(UserError, match="no such file"):
        read_instances(tmp_path / "b.json")
