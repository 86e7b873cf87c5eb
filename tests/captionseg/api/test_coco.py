"""COCO's JSON of results, by hand and as other libraries read it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pycocotools import mask as coco_masks

import captionseg
from captionseg.records import UserError
from captionseg.segment_text.rle import encode, encode_labels
from tests.captionseg.api.test_segmentation import MASK, result


def test_by_hand():
    data = result().to_coco()
    assert data["images"] == [{"id": 1, "file_name": "a.jpg", "width": 4, "height": 2}]
    assert [c["name"] for c in data["categories"]] == ["dog", "cat", "grass", "sky"]
    assert [(a["category_id"], a["area"], a["bbox"], a["score"]) for a in data["annotations"]] == [
        (1, 3, [0.0, 0.0, 2.0, 2.0], 0.5),
        (2, 1, [2.0, 0.0, 1.0, 1.0], 0.25),
        (3, 2, [1.0, 1.0, 2.0, 1.0], -0.125),
    ]
    json.dumps(data, allow_nan=False)


def test_many_pictures_are_read_by_its_own_library_and_by_ours(tmp_path):
    from captionseg.benchmarks.coco_json import mask_of, read_instances

    rng = np.random.default_rng(0)
    masks = [rng.integers(-1, 4, (9, n)).astype(np.int16) for n in (1, 5, 30)]
    data = captionseg.to_coco(result(mask, name=f"{n}.jpg") for n, mask in enumerate(masks))
    assert [a["id"] for a in data["annotations"]] == [*range(1, len(data["annotations"]) + 1)]
    for one in data["annotations"]:
        mask, label = masks[one["image_id"] - 1], one["category_id"] - 1
        np.testing.assert_array_equal(
            coco_masks.decode(one["segmentation"]).astype(bool), mask == label
        )
        assert coco_masks.area(one["segmentation"]) == one["area"]
        assert coco_masks.toBbox(one["segmentation"]).tolist() == one["bbox"]
    (tmp_path / "coco.json").write_text(json.dumps(data))
    names, pictures = read_instances(tmp_path / "coco.json")
    assert names == ("dog", "cat", "grass", "sky")
    for mask, picture in zip(masks, pictures, strict=True):
        for one in picture.instances:
            np.testing.assert_array_equal(
                mask_of(one.segmentation, picture.size), mask == one.label
            )


def test_pictures_of_other_labels_are_no_data_set():
    with pytest.raises(UserError, match="need the same labels"):
        captionseg.to_coco([result(), result(MASK, ("dog", "cat", "sky"))])


@pytest.mark.parametrize("count", [0, 1, 70])
def test_all_labels_at_once_are_what_each_mask_is(count):
    labels = np.random.default_rng(count).integers(-1, count, (13, 17)).astype(np.int16)
    masks = labels == np.arange(count)[:, None, None]
    for found, expected in zip(encode_labels(labels, count), encode(masks), strict=True):
        np.testing.assert_array_equal(found, expected)
