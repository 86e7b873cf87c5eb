"""What every member of SEGMENTERS and of MASK_MAKERS must do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from captionseg.segmenters.interfaces import BoxSegmenter, MaskMaker
from captionseg.segmenters.mask_makers import MASK_MAKERS
from captionseg.segmenters.sam import Sam, SamSegmenter
from captionseg.segmenters.sam_auto import SamAuto, SamMasks
from captionseg.segmenters.segmenters import SEGMENTERS

SHAPES = [(48, 60, 3), (1, 10, 3)]
LOOSE: dict[str, Any] = {"min_iou": 0.0, "small_area": 0, "device": "cpu"}


@pytest.fixture(scope="module", params=SEGMENTERS)
def segmenter(request, model, sam_folders) -> BoxSegmenter:
    if request.param == "sam":
        return SamSegmenter(model, Sam(min_iou=-10.0))
    known = sam_folders.get(request.param)
    settings = {"checkpoint": known, **LOOSE} if known else {}
    return SEGMENTERS[request.param](**settings).build()


@pytest.fixture(scope="module", params=MASK_MAKERS)
def maker(request, model, sam_folders) -> MaskMaker:
    grid = {"points": 2, "min_stability": 0.0, "small_area": 0}
    if request.param == "sam_auto":
        return SamMasks(model, SamAuto(**grid, min_iou=-10.0))
    settings = {"checkpoint": sam_folders["sam2"], **LOOSE, **grid}
    return MASK_MAKERS[request.param](**(settings if "sam2" in request.param else {})).build()


def picture(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", SHAPES)
def test_each_box_has_a_mask_of_the_size_of_the_picture(segmenter, shape):
    height, width = shape[:2]
    boxes = np.array([[0, 0, width, height], [2, 0, 5, 1], [4, 1, 4, 1]], np.float32)
    assert isinstance(segmenter, BoxSegmenter)
    masks, stability = segmenter.masks(picture(shape), boxes)
    assert (masks.shape, masks.dtype) == ((3, height, width), bool)
    assert (stability.shape, stability.dtype) == ((3,), np.float32)
    assert ((stability >= 0) & (stability <= 1)).all()
    again = segmenter.masks(picture(shape), boxes)
    assert np.array_equal(masks, again[0])
    nothing = segmenter.masks(picture(shape), boxes[:0])
    assert nothing[0].shape == (0, height, width)
    assert nothing[1].shape == (0,)


def test_masks_have_one_grid_and_a_stability(maker):
    assert isinstance(maker, MaskMaker)
    masks, stability = maker.masks(picture(SHAPES[0]))
    assert masks.dtype == bool
    assert masks.ndim == 3
    assert stability.shape == (len(masks),)
    assert ((stability >= 0) & (stability <= 1)).all()
    again = maker.masks(picture(SHAPES[0]))
    assert np.array_equal(masks, again[0])
