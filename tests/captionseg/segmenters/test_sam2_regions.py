"""Regions of SAM 2's masks: laid over each other by hand, and of a small random model."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from captionseg.inference.labelling import build_region_maker
from captionseg.records import UserError
from captionseg.segmenters.interfaces import RegionMaker
from captionseg.segmenters.region_makers import RegionsParams
from captionseg.segmenters.sam2_regions import Sam2Regions, lay_over, load_once

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 60, 3), dtype=np.uint8)


def test_small_masks_lie_on_large_ones_and_the_rest_is_a_region():
    masks = np.zeros((3, 4, 8), bool)
    masks[0, :2, :2] = True  # a part of the next one
    masks[1, :, :4] = True
    assert lay_over(masks, 4, 8).tolist() == [
        [2, 1, 0, 0],
        [2, 1, 0, 0],
        [1, 1, 0, 0],
        [1, 1, 0, 0],
    ]
    assert lay_over(masks, 4, 2).tolist() == [[1, 1, 0, 0]] * 4
    assert not lay_over(masks, 4, 1).any()
    assert not lay_over(masks[:0], 4, 8).any()
    masks[2] = True  # nothing is left over, and no number is missing
    assert np.unique(lay_over(masks, 4, 8)).tolist() == [0, 1, 2]


def test_regions_of_a_picture(sam_folders):
    settings = {"points": 2, "min_iou": 0.0, "min_stability": 0.0, "nms_iou": 1.0, "side": 8}
    maker = RegionsParams(
        "sam2", sam2=Sam2Regions(sam_folders["sam2"], device="cpu", max_regions=9, **settings)
    ).build()
    assert isinstance(maker, RegionMaker)
    found = maker.regions(IMAGE)
    assert (found.shape, found.dtype) == ((8, 8), np.uint8)
    assert np.unique(found).tolist() == list(range(found.max() + 1))
    assert 0 < found.max() < 9
    sent = pickle.loads(pickle.dumps(maker))  # as to a worker
    assert np.array_equal(sent.regions(IMAGE), found)
    assert load_once.cache_info().currsize == 1


def test_a_saved_model_knows_its_own_maker_alone(sam_folders):
    params = RegionsParams("sam2", sam2=Sam2Regions(sam_folders["sam2"], points=2))
    assert params.describe().keys() == {"maker", "sam2"}
    assert build_region_maker(params.describe()) == params.sam2


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match=r"max_regions must be in 1\.\.255, found 256"):
        Sam2Regions(max_regions=256)
    with pytest.raises(UserError, match=r"^regions\.sam2\.checkpoint: no config\.json"):
        Sam2Regions("/nowhere").regions(IMAGE)
