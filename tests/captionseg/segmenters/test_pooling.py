"""Pooling without upsampling must equal pooling with it."""

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from captionseg.segmenters.pooling import GEOMETRY, describe_geometry, pool_regions


@pytest.mark.parametrize(
    ("grid", "size"), [((14, 14), (112, 112)), ((7, 5), (30, 41)), ((1, 1), (8, 8))]
)
def test_equals_the_mean_of_the_upsampled_map(grid: tuple[int, int], size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(*grid, 6)).astype(np.float32)
    labels = rng.integers(0, 9, size).astype(np.uint8)
    up = interpolate(torch.from_numpy(dense).permute(2, 0, 1)[None], size=size, mode="bilinear")[
        0
    ].numpy()
    want = np.stack([up[:, labels == r].mean(axis=1) for r in range(9)])
    assert pool_regions(dense, labels, 9)[:, :-GEOMETRY] == pytest.approx(want, abs=1e-5)


def test_a_constant_map_stays_constant_and_an_absent_region_is_zero() -> None:
    labels = np.zeros((10, 10), np.uint8)
    labels[:, 5:] = 1
    pooled = pool_regions(np.full((3, 3, 2), 4.0, np.float16), labels, 3)
    assert pooled.dtype == np.float32
    assert pooled.shape == (3, 2 + GEOMETRY)
    assert pooled[:2, :2] == pytest.approx(4.0)
    assert not pooled[2].any()


def test_geometry_by_hand() -> None:
    inside = np.zeros((2, 4, 8), bool)
    inside[0, 0:2, 0:4] = (
        True  # upper left quarter: 8 of 32 pixels; border: 4 above and 1 more at the left, of 20
    )
    inside[1, 1, 2] = inside[1, 2, 3] = True  # a diagonal inside: fills half of its 2x2 box
    want = [
        [8 / 32, 2 / 8, 1 / 4, 4 / 8, 2 / 4, 5 / 20, 1.0],
        [2 / 32, 3 / 8, 2 / 4, 2 / 8, 2 / 4, 0.0, 0.5],
    ]
    assert describe_geometry(inside) == pytest.approx(np.array(want))
