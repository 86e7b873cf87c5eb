"""Holes and islands, by hand."""

import numpy as np

from captionseg.segmenters.islands import remove_small_parts


def test_small_holes_are_filled_and_small_islands_dropped() -> None:
    mask = np.zeros((12, 12), bool)
    mask[1:8, 1:8] = True
    mask[3, 3] = False  # a hole of one pixel
    mask[10, 10] = mask[11, 11] = True  # an island of two: corners connect
    tidy = remove_small_parts(mask, 3)
    assert tidy[3, 3]
    assert not tidy[10:, 10:].any()
    assert tidy.sum() == 49
    assert np.array_equal(remove_small_parts(mask, 2)[10:, 10:], mask[10:, 10:])
    assert np.array_equal(remove_small_parts(mask, 0), mask)


def test_of_only_small_islands_the_largest_stays() -> None:
    mask = np.zeros((9, 9), bool)
    mask[0, 0] = mask[4, 4:6] = True
    assert np.array_equal(np.argwhere(remove_small_parts(mask, 5)), [[4, 4], [4, 5]])


def test_nothing_stays_nothing() -> None:
    assert not remove_small_parts(np.zeros((4, 4), bool), 3).any()
