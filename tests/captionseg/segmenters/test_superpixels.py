"""Masks by the share of regions inside boxes, by hand."""

import numpy as np
import pytest

from captionseg.segmenters.superpixels import Superpixels, share_inside_boxes, upscale

LABELS = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 2, 2], [2, 2, 2, 2]], np.uint8)
IMAGE = np.zeros((8, 8, 3), np.uint8)  # two pixels for each of LABELS


def test_shares_count_cut_pixels_in_part() -> None:
    shares, area = share_inside_boxes(LABELS, np.array([[0, 0, 2.5, 2.0], [0, 1, 4, 3]]))
    assert np.array_equal(area, [4, 4, 8])
    # first box: all of 0; half a column of two pixels of 1, so 1 of 4. Second: lower row of 0 and
    # 1, upper row of 2.
    assert shares == pytest.approx(np.array([[1.0, 0.25, 0.0], [0.5, 0.5, 0.5]]))


def test_a_mask_is_the_regions_that_lie_mostly_inside() -> None:
    masks, stability = Superpixels().masks(IMAGE, np.array([[0, 0, 5, 4]]), labels=LABELS)
    want = np.zeros((8, 8), bool)
    want[:4, :4] = True
    assert np.array_equal(masks[0], want)
    # region 0 is in at all thresholds, the others at none
    assert stability[0] == pytest.approx(1.0)


def test_stability_falls_when_a_region_is_nearly_in() -> None:
    boxes = np.array([[0, 0, 5.6, 4]])  # of region 1 .4 is inside: below .5, but above .5 - .2
    masks, stability = Superpixels(share=0.5, offset=0.2).masks(IMAGE, boxes, labels=LABELS)
    assert masks[0].sum() == 16
    assert stability[0] == pytest.approx(4 / 8)


def test_a_box_inside_a_larger_region_gives_an_empty_mask_of_no_stability() -> None:
    masks, stability = Superpixels().masks(IMAGE, np.array([[2, 5, 4, 7]]), labels=LABELS)
    assert not masks.any()
    assert stability[0] == 0


def test_no_boxes_no_masks_and_regions_are_made_when_none_are_given() -> None:
    masks, stability = Superpixels().masks(IMAGE, np.zeros((0, 4)))
    assert masks.shape == (0, 8, 8)
    assert stability.shape == (0,)


def test_the_square_in_a_box_is_found_from_pixels_alone() -> None:
    image = np.full((100, 80, 3), 30, np.uint8)
    image[20:60, 10:50] = 220
    masks, stability = Superpixels().masks(image, np.array([[5, 15, 55, 65]]))
    truth = np.zeros((100, 80), bool)
    truth[20:60, 10:50] = True
    assert (masks[0] & truth).sum() / (masks[0] | truth).sum() > 0.8
    assert 0 < stability[0] <= 1


def test_upscaling_repeats_pixels() -> None:
    assert np.array_equal(upscale(LABELS, 8, 12), LABELS.repeat(2, 0).repeat(3, 1))


def test_thresholds_must_stay_between_zero_and_one() -> None:
    with pytest.raises(ValueError, match="offset"):
        Superpixels(share=0.2, offset=0.2)
