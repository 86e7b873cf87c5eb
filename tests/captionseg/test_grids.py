"""Means over regions without upsampling, against upsampling by torch."""

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from captionseg.grids import indicators, interpolation, region_weights


@pytest.mark.parametrize(("coarse", "fine"), [((14, 14), (112, 112)), ((7, 5), (30, 41)), ((1, 1), (8, 8))])
def test_interpolation_is_torchs(coarse: tuple[int, int], fine: tuple[int, int]) -> None:
    grid = np.random.default_rng(0).normal(size=coarse).astype(np.float32)
    want = interpolate(torch.from_numpy(grid)[None, None], size=fine, mode="bilinear")[0, 0].numpy()
    found = interpolation(fine[0], coarse[0]) @ grid @ interpolation(fine[1], coarse[1]).T
    assert found == pytest.approx(want, abs=1e-5)


def test_weights_by_hand_and_nothing_for_an_empty_region() -> None:
    labels = np.array([[0, 0, 1, 2]])
    # two cells on four pixels: pixels 0 and 3 lie at the border and copy their cell, 1 and 2 mix them 3 : 1
    weights = region_weights(indicators(labels, 4), (1, 2))
    assert weights == pytest.approx(np.array([[0.875, 0.125], [0.25, 0.75], [0, 1], [0, 0]]))
