"""Run lengths, against COCO's definition."""

import numpy as np

from captionseg.segment_text.rle import decode, encode, measure_areas


def test_there_and_back_with_areas_and_boxes() -> None:
    masks = np.zeros((2, 5, 7), bool)
    masks[0, 1:3, 2:6] = True
    masks[1, 4, 0] = masks[1, 0, 6] = True
    rles, area, boxes = encode(masks)
    assert np.array_equal(decode(rles, 5, 7), masks)
    assert area.tolist() == measure_areas(rles, [5, 5], [7, 7]).tolist() == [8, 2]
    assert boxes.tolist() == [[2, 1, 4, 2], [0, 0, 7, 5]]


def test_runs_go_down_columns() -> None:
    mask = np.array([[[0, 1], [0, 1]]], bool)
    # two pixels off, two on; COCO writes a count n below 16 as chr(48 + n)
    assert encode(mask)[0] == ["22"]


def test_none_gives_none() -> None:
    rles, area, boxes = encode(np.zeros((0, 4, 4), bool))
    assert rles == []
    assert area.shape == (0,)
    assert boxes.shape == (0, 4)
    assert decode([], 4, 4).shape == (0, 4, 4)
    assert measure_areas([], [], []).shape == (0,)


def test_there_may_be_more_masks_than_a_byte_counts() -> None:
    # mask i has i + 1 pixels
    masks = np.arange(300)[:, None, None] >= np.arange(400).reshape(1, 20, 20)
    rles, area, boxes = encode(masks)
    assert (
        area.tolist() == measure_areas(rles, [20] * 300, [20] * 300).tolist() == list(range(1, 301))
    )
    assert boxes.shape == (300, 4)
    assert np.array_equal(decode(rles, 20, 20), masks)
