"""Regions: what must hold for any picture, and what merging does, by hand."""

import numpy as np
import pytest

from captionseg.segmenters.felzenszwalb import Felzenszwalb, adjacency, merge_smallest


def noise(seed: int, height: int = 90, width: int = 140) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_square_and_its_plain_ground_are_a_region_each() -> None:
    image = np.full((224, 224, 3), 40, np.uint8)
    image[60:160, 60:160] = (250, 30, 30)
    labels = Felzenszwalb().regions(image)
    assert labels.shape == (112, 112)
    assert labels.dtype == np.uint8
    square, ground = (
        np.unique(labels[34:76, 34:76]),
        np.unique(labels[:26]),
    )  # the blurred edge between may be its own
    assert len(square) == len(ground) == 1
    assert square != ground


@pytest.mark.parametrize("shape", [(1, 1), (30, 200), (200, 30)])
def test_any_shape_of_picture_gives_the_same_grid_of_contiguous_ids(shape: tuple[int, int]) -> None:
    labels = Felzenszwalb(side=48, min_size=5).regions(noise(0, *shape))
    assert labels.shape == (48, 48)
    assert np.array_equal(np.unique(labels), np.arange(labels.max() + 1))


def test_no_more_regions_than_allowed_even_in_noise() -> None:
    maker = Felzenszwalb(scale=1.0, min_size=2, median=1, sigma=0.1, max_regions=7)
    assert Felzenszwalb(scale=1.0, min_size=2, median=1, sigma=0.1, max_regions=255).regions(noise(1)).max() > 7
    assert maker.regions(noise(1)).max() == 6


def test_same_picture_same_regions() -> None:
    assert np.array_equal(Felzenszwalb().regions(noise(2)), Felzenszwalb().regions(noise(2)))


def test_the_smallest_region_joins_its_neighbour_of_nearest_colour() -> None:
    labels = np.array([[0, 0, 1, 2, 2], [0, 0, 1, 2, 2], [0, 0, 3, 2, 2]])
    grey = {0: 0, 1: 120, 2: 100, 3: 10}
    pixels = np.stack([np.vectorize(grey.get)(labels)] * 3, axis=-1)
    # 3 is smallest; it touches 0 (10 away), 1 (110) and 2 (90), so it joins 0. Then 1 is smallest and joins 2.
    assert np.array_equal(merge_smallest(labels, pixels, 3), [[0, 0, 1, 2, 2], [0, 0, 1, 2, 2], [0, 0, 0, 2, 2]])
    assert np.array_equal(merge_smallest(labels, pixels, 2), [[0, 0, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 0, 1, 1]])
    assert np.array_equal(merge_smallest(labels, pixels, 1), np.zeros((3, 5)))


def test_merging_never_joins_regions_that_do_not_touch() -> None:
    labels = np.array([[0, 1, 2]])
    pixels = np.array([[[5, 5, 5], [200, 200, 200], [5, 5, 5]]])  # 0 and 2 are alike, but 1 lies between
    assert np.array_equal(merge_smallest(labels, pixels, 2), [[0, 0, 1]])


def test_adjacency_is_by_edges_not_corners() -> None:
    assert np.array_equal(
        adjacency(np.array([[0, 1], [1, 2]]), 3),
        [[False, True, False], [True, False, True], [False, True, False]],
    )


@pytest.mark.parametrize("field", [{"max_regions": 0}, {"max_regions": 256}, {"median": 2}])
def test_parameters_that_make_no_sense_are_refused(field: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(field))):
        Felzenszwalb(**field)
