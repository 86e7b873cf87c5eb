"""Means over regions without upsampling, against upsampling by torch."""

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from captionseg.grids import (
    Window,
    indicators,
    interpolation,
    overlap,
    overlap_within,
    region_weights,
    shares,
)


@pytest.mark.parametrize(
    ("coarse", "fine"), [((14, 14), (112, 112)), ((7, 5), (30, 41)), ((1, 1), (8, 8))]
)
def test_interpolation_is_torchs(coarse: tuple[int, int], fine: tuple[int, int]) -> None:
    grid = np.random.default_rng(0).normal(size=coarse).astype(np.float32)
    want = interpolate(torch.from_numpy(grid)[None, None], size=fine, mode="bilinear")[0, 0].numpy()
    found = interpolation(fine[0], coarse[0]) @ grid @ interpolation(fine[1], coarse[1]).T
    assert found == pytest.approx(want, abs=1e-5)


def test_weights_by_hand_and_nothing_for_an_empty_region() -> None:
    labels = np.array([[0, 0, 1, 2]])
    # two cells on four pixels: pixels 0 and 3 lie at the border and copy their cell, 1 and 2 mix
    # them 3 : 1
    weights = region_weights(indicators(labels, 4), (1, 2))
    assert weights == pytest.approx(np.array([[0.875, 0.125], [0.25, 0.75], [0, 1], [0, 0]]))


def test_shares_of_cells_are_torchs_means_where_pixels_divide_evenly() -> None:
    inside = np.random.default_rng(0).random((3, 12, 20)) < 0.4
    want = torch.nn.functional.avg_pool2d(torch.from_numpy(inside).float()[None], (4, 5))[0].numpy()
    assert shares(inside, (3, 4)) == pytest.approx(want, abs=1e-6)


def test_shares_by_hand_where_they_do_not() -> None:
    # three pixels on two cells: the middle is halved
    inside = np.array([[[True, False, False], [True, True, False]]])
    assert shares(inside, (1, 2)) == pytest.approx(np.array([[[(2 + 0.5) / 3, 0.5 / 3]]]))
    assert shares(inside, (2, 1)) == pytest.approx(np.array([[[1 / 3], [2 / 3]]]))
    # cells smaller than pixels
    assert shares(inside, (2, 6)) == pytest.approx(inside.repeat(2, axis=2).astype(float))


@pytest.mark.parametrize(("fine", "coarse"), [(7, 3), (3, 7), (8, 8), (224, 14)])
def test_every_cell_is_covered_once(fine: int, coarse: int) -> None:
    assert overlap(fine, coarse).sum(0) == pytest.approx(np.ones(coarse), abs=1e-5)
    assert overlap(fine, coarse).sum(1) == pytest.approx(np.full(fine, coarse / fine), abs=1e-5)


def test_a_window_cuts_and_pads() -> None:
    """Four columns from -1/2 to 3/2 of two cells: the middle two fill them. Two rows on the upper
    half of two cells.
    """
    inside = np.array([[[True, True, False, False], [False, True, True, True]]])
    found = shares(inside, (2, 2), Window(0.0, -0.5, 0.5, 1.5))
    assert found == pytest.approx(np.array([[[1.0, 0.5], [0.0, 0.0]]]))
    assert shares(inside, (2, 2), Window()) == pytest.approx(shares(inside, (2, 2)))
    assert not shares(inside, (2, 2), Window(1.0, 0.0, 2.0, 1.0)).any()


@pytest.mark.parametrize(("start", "end"), [(-0.3, 0.6), (0.0, 0.35), (0.2, 1.7)])
def test_pixels_of_a_part_cover_no_more_than_that(start: float, end: float) -> None:
    seen = max(0.0, min(end, 1.0) - max(start, 0.0))
    assert overlap_within(7, 5, start, end).mean(1).sum() == pytest.approx(seen, abs=1e-6)
