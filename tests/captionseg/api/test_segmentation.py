"""What a result says of its masks, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from captionseg.api.segmentation import Segmentation
from captionseg.records import UserError

MASK = np.array([[0, 0, 1, -1], [0, 2, 2, -1]], np.int16)


def result(mask=MASK, labels=("dog", "cat", "grass", "sky"), name="a.jpg") -> Segmentation:
    scores = np.array([0.5, 0.25, -0.125, np.nan], np.float32)[: len(labels)]
    return Segmentation(labels, mask, scores, np.zeros((*mask.shape, 3), np.uint8), name)


def test_areas_shares_and_masks():
    one = result()
    assert one.areas.tolist() == [3, 1, 2, 0]
    assert one.shares.tolist() == [0.375, 0.125, 0.25, 0]
    assert one.masks.shape == (4, 2, 4)
    assert one.masks.sum((1, 2)).tolist() == [3, 1, 2, 0]
    np.testing.assert_array_equal(one.mask_of("grass"), MASK == 2)
    assert one.list_shares()[0] == ("dog", 0.375)
    assert repr(one) == "Segmentation(a.jpg, 4 x 2: dog 38 %, grass 25 %, cat 12 %)"
    with pytest.raises(UserError, match="'cow' is none of dog, cat, grass, sky"):
        one.mask_of("cow")


def test_an_index_png_has_numbers_and_colours(tmp_path):
    result().index_image().save(tmp_path / "index.png")
    with Image.open(tmp_path / "index.png") as image:
        assert image.mode == "P"
        assert np.asarray(image).tolist() == [[0, 0, 1, 255], [0, 2, 2, 255]]
        assert len({image.convert("RGB").getpixel(at) for at in ((0, 0), (2, 0), (1, 1))}) == 3
