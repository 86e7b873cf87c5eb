"""The tree of joins: by hand, against `join_regions` at every cost, and what masks are made of
it.
"""

import itertools

import numpy as np
import pytest

from captionseg.segmenters.felzenszwalb import Felzenszwalb, join_regions
from captionseg.segmenters.hierarchy import Hierarchy, join_tree
from captionseg.segmenters.mask_makers import MasksParams
from captionseg.segmenters.overlap import mask_iou


def noise(seed: int, side: int = 90) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side + 30, 3), dtype=np.uint8)


SMALL = Hierarchy(
    low=10.0, high=1e6, max_masks=40, min_area=1, maker=Felzenszwalb(side=32, scale=1.0, min_size=8)
)


def test_the_tree_by_hand() -> None:
    # 0 | 1 | 2 in a row, 2 pixels each; costs 0-1: (2*2/4)*4 = 4, 1-2: (2*2/4)*81 = 81, then
    # (0+1)-2: (4*2/6)*100
    labels = np.array([[0, 1, 2], [0, 1, 2]])
    member, made, taken = join_tree(labels, np.array([0.0, 2.0, 11.0])[labels][..., None])
    assert member.astype(int).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 1, 1]]
    assert made == pytest.approx([0, 0, 0, 4, 400 / 3])
    assert taken == pytest.approx([4, 4, 400 / 3, 400 / 3, np.inf])


def test_at_each_cost_the_regions_are_those_of_joining_up_to_it() -> None:
    rng = np.random.default_rng(0)
    labels, colours = np.arange(16).reshape(4, 4), rng.normal(size=(4, 4, 3))
    member, made, taken = join_tree(labels, colours)
    for cost in np.quantile(made[16:], [0.1, 0.35, 0.6, 0.95]) + 1e-9:
        there = member[(made < cost) & (taken >= cost)]
        assert (there.sum(0) == 1).all()  # each piece is in one of them
        other = join_regions(labels, colours, 16, cost)
        assert {tuple(row) for row in there} == {
            tuple((other == r).ravel()) for r in np.unique(other)
        }


def test_masks_lie_inside_each_other_or_apart_and_none_is_nearly_another() -> None:
    masks, stability = SMALL.masks(noise(0))
    assert masks.dtype == bool
    assert masks.shape[1:] == (32, 32)
    assert 5 < len(masks) <= 40
    assert masks.any((1, 2)).all()
    assert stability.dtype == np.float32
    assert ((stability > 0) & (stability <= 1)).all()
    assert (np.diff(stability) <= 0).all()
    for a, b in itertools.combinations(masks, 2):
        assert not (a & b).any() or not (a & ~b).any() or not (b & ~a).any()
    assert np.triu(mask_iou(masks), 1).max() <= 0.8
    assert masks.sum(0).max() > 1


def test_the_most_stable_are_kept() -> None:
    every, few = SMALL.masks(noise(1)), Hierarchy(**{**vars(SMALL), "max_masks": 3}).masks(noise(1))
    assert np.array_equal(few[0], every[0][:3])
    assert np.array_equal(few[1], every[1][:3])


def test_a_thing_unlike_its_ground_is_the_most_stable_mask() -> None:
    image = np.full((224, 224, 3), 40, np.uint8)
    image[60:160, 60:160] = (250, 30, 30)
    masks, stability = Hierarchy().masks(image)
    truth = image[::2, ::2, 0] == 250
    overlap = mask_iou(masks, truth[None])[:, 0]
    assert overlap.max() > 0.9
    assert stability[overlap.argmax()] > 0.9 * stability.max()


def test_stability_is_the_share_of_the_range_of_costs() -> None:
    """Two halves whose join costs the geometric mean of the range: each half exists in its lower
    half.
    """
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, 4:] = (
        255  # black and white: 100 apart in L, 32 pixels each: cost 32 * 32 / 64 * 10^4 = 1.6e5
    )
    maker = Felzenszwalb(side=8, sigma=0.0, min_size=2)
    masks, stability = Hierarchy(low=1.6e4, high=1.6e6, min_area=1, maker=maker).masks(image)
    assert sorted(masks.sum((1, 2)).tolist()) == [32, 32, 64]
    assert stability == pytest.approx([0.5] * 3, abs=1e-3)
    assert masks[0].all()  # of equals the larger comes first
    lower, _ = Hierarchy(low=1.0, high=1e5, min_area=1, maker=maker).masks(image)
    assert sorted(lower.sum((1, 2)).tolist()) == [32, 32]
    large, _ = Hierarchy(low=1.6e4, high=1.6e6, min_area=33, maker=maker).masks(image)
    assert large.sum((1, 2)).tolist() == [64]


@pytest.mark.parametrize("shape", [(1, 1), (30, 200), (50, 50)])
def test_a_plain_picture_is_one_mask(shape: tuple[int, int]) -> None:
    masks, stability = Hierarchy().masks(np.full((*shape, 3), 7, np.uint8))
    assert masks.shape == (1, 112, 112)
    assert masks.all()
    assert stability.tolist() == [1.0]


def test_same_picture_same_masks() -> None:
    for a, b in zip(SMALL.masks(noise(2)), SMALL.masks(noise(2)), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("field", [{"low": 0.0}, {"low": 5.0, "high": 5.0}, {"max_masks": 0}])
def test_parameters_that_make_no_sense_are_refused(field: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="hierarchy: low must be above 0 and below high"):
        Hierarchy(**field)


def test_params_build_what_they_name() -> None:
    params = MasksParams("hierarchy", hierarchy=SMALL)
    assert params.build() is SMALL
    assert MasksParams().build() is None
