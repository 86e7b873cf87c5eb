"""Overlap of masks and mask NMS, by hand."""

import numpy as np
import pytest

from captionseg.segmenters import overlap
from captionseg.segmenters.overlap import mask_iou, suppress


def bars(*lengths: int) -> np.ndarray:
    """[n, 1, 10]: masks of the first so many pixels; the IoU of two is the ratio of their
    lengths."""
    return np.arange(10)[None, None] < np.array(lengths)[:, None, None]


def test_iou_by_hand() -> None:
    assert mask_iou(bars(8, 10, 4)) == pytest.approx(
        np.array([[1, 0.8, 0.5], [0.8, 1, 0.4], [0.5, 0.4, 1]])
    )
    assert mask_iou(bars(0), bars(0, 3)) == pytest.approx(np.zeros((1, 2)))


def test_iou_in_blocks_of_pixels_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = mask_iou(bars(8, 10, 4)), mask_iou(bars(8, 10), bars(4))
    monkeypatch.setattr(overlap, "BLOCK", 3)
    assert np.array_equal(mask_iou(bars(8, 10, 4)), whole[0])
    assert np.array_equal(mask_iou(bars(8, 10), bars(4)), whole[1])


def test_the_more_stable_survives_and_takes_the_other() -> None:
    owner = suppress(bars(8, 10, 4), np.array([0.5, 0.9, 0.1]), np.array([0.9, 0.1, 0.5]), iou=0.7)
    assert owner.tolist() == [1, 1, 2]


def test_at_equal_stability_the_better_grounded_survives() -> None:
    assert suppress(bars(8, 10), np.ones(2), np.array([0.9, 0.1]), iou=0.7).tolist() == [0, 0]


def test_a_duplicate_goes_to_the_survivor_it_overlaps_most() -> None:
    # 6 and 10 both survive at .62 (6/10 = .6); 8 overlaps 10 by .8 and 6 by .75
    assert suppress(bars(6, 10, 8), np.array([0.9, 0.8, 0.1]), np.zeros(3), iou=0.62).tolist() == [
        0,
        1,
        1,
    ]


def test_exactly_the_threshold_is_not_a_duplicate() -> None:
    assert suppress(bars(5, 10), np.array([1.0, 0.9]), np.zeros(2), iou=0.5).tolist() == [0, 1]


def test_a_mask_that_overlaps_no_survivor_survives_though_it_overlaps_what_was_merged() -> None:
    # from the most stable: 7 takes 8 (7/8 = .875); 10 overlaps 8 by .8 but 7 by .7 only
    assert suppress(bars(7, 8, 10), np.array([0.9, 0.8, 0.7]), np.zeros(3), iou=0.75).tolist() == [
        0,
        0,
        2,
    ]
