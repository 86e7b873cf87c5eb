"""Regions: what must hold for any picture, and what joining does, by hand."""

import numpy as np
import pytest

from captionseg.segmenters.felzenszwalb import Felzenszwalb, find_adjacent, join_regions


def noise(seed: int, height: int = 90, width: int = 140) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_square_and_its_plain_ground_are_the_two_regions() -> None:
    image = np.full((224, 224, 3), 40, np.uint8)
    image[60:160, 60:160] = (250, 30, 30)
    labels = Felzenszwalb().regions(image)
    assert labels.shape == (112, 112)
    assert labels.dtype == np.uint8
    square = labels == labels[56, 56]
    truth = image[::2, ::2, 0] == 250
    assert (square & truth).sum() / (square | truth).sum() > 0.9
    assert len(np.unique(labels[~square & ~truth])) <= 2  # the blurred edge may be its own


@pytest.mark.parametrize("shape", [(1, 1), (30, 200), (200, 30)])
def test_any_shape_of_picture_gives_the_same_grid_of_contiguous_ids(shape: tuple[int, int]) -> None:
    labels = Felzenszwalb(side=48, min_size=5).regions(noise(0, *shape))
    assert labels.shape == (48, 48)
    assert np.array_equal(np.unique(labels), np.arange(labels.max() + 1))


def test_no_more_regions_than_allowed_even_in_noise() -> None:
    assert (
        Felzenszwalb(side=48, scale=1.0, min_size=4, min_cost=0, max_regions=255)
        .regions(noise(1))
        .max()
        > 7
    )
    assert (
        Felzenszwalb(side=48, scale=1.0, min_size=4, min_cost=0, max_regions=7)
        .regions(noise(1))
        .max()
        == 6
    )


def test_same_picture_same_regions() -> None:
    assert np.array_equal(
        Felzenszwalb(side=48).regions(noise(2)), Felzenszwalb(side=48).regions(noise(2))
    )


def test_the_cheapest_pair_of_neighbours_is_joined() -> None:
    labels = np.array([[0, 0, 1, 2, 2], [0, 0, 1, 2, 2], [0, 0, 3, 2, 2]])
    grey = np.array([0.0, 12.0, 10.0, 3.0])
    colours = grey[labels][..., None]
    # costs: 0-1 (6*2/8)*144 = 216, 0-3 (6/7)*9 = 7.7, 1-2 (2*6/8)*4 = 6, 1-3 (2/3)*81 = 54, 2-3
    # (6/7)*49 = 42
    assert np.array_equal(
        join_regions(labels, colours, 3, 0), [[0, 0, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 2, 1, 1]]
    )
    # then 3 joins 0: 7.7 against 1+2, of mean 10.5 and 8 pixels: (8/9)*56.25 = 50
    two = [[0, 0, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 0, 1, 1]]
    assert np.array_equal(join_regions(labels, colours, 2, 0), two)
    assert np.array_equal(join_regions(labels, colours, 1, 0), np.zeros((3, 5)))
    # both costs lie below 8, the next one does not
    assert np.array_equal(join_regions(labels, colours, 4, 8.0), two)
    assert np.array_equal(join_regions(labels, colours, 4, 6.0), labels)  # none lies below 6


def test_joining_never_joins_regions_that_do_not_touch() -> None:
    colours = np.array([[[5.0], [200.0], [6.0]]])  # 0 and 2 are alike, but 1 lies between
    assert np.array_equal(join_regions(np.array([[0, 1, 2]]), colours, 2, 0), [[0, 1, 1]])


def test_adjacency_is_by_edges_not_corners() -> None:
    want = [[False, True, False], [True, False, True], [False, True, False]]
    assert np.array_equal(find_adjacent(np.array([[0, 1], [1, 2]]), 3), want)


@pytest.mark.parametrize("field", [{"max_regions": 0}, {"max_regions": 256}, {"median": 2}])
def test_parameters_that_make_no_sense_are_refused(field: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(field))):
        Felzenszwalb(**field)
