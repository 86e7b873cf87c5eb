"""Augmentation is timm's, and a function of its seed alone."""

import numpy as np
import pytest
import torch

from captionseg.grids import MEAN, STD
from captionseg.training.augment import Augmenter, AugmentParams, seeded

IMAGE = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)


def test_the_same_seed_gives_the_same_crop_whatever_was_drawn_before():
    augment = Augmenter(AugmentParams(), 16)
    first = augment(IMAGE, [0, 1, 2])
    torch.rand(7)
    augment(IMAGE, [5])
    assert torch.equal(augment(IMAGE, [0, 1, 2]), first)
    assert first.shape == (3, 16, 16)
    assert not torch.equal(augment(IMAGE, [0, 1, 3]), first)


def test_without_augmentation_a_crop_of_all_is_the_picture_or_its_mirror():
    augment = Augmenter(AugmentParams(smallest=1.0, randaugment="", erase=0.0), 40)
    square = IMAGE[:, :40]
    pixels = (torch.from_numpy(square / 255.0).float() - torch.tensor(MEAN)) / torch.tensor(STD)
    seen = set()
    for seed in range(20):
        out = augment(square, [seed]).permute(1, 2, 0)
        flipped = not torch.allclose(out, pixels, atol=1e-4)
        torch.testing.assert_close(out.flip(1) if flipped else out, pixels, atol=1e-4, rtol=0)
        seen.add(flipped)
    assert seen == {True, False}


def test_the_highest_magnitude_is_no_error():
    augment = Augmenter(AugmentParams(randaugment="rand-m10-p1.0-inc1"), 16)
    assert all(torch.isfinite(augment(IMAGE, [seed])).all() for seed in range(100))


def test_random_numbers_of_others_go_on_where_they_were():
    torch.manual_seed(0)
    expected = torch.rand(3)[1:]
    torch.manual_seed(0)
    torch.rand(1)
    with seeded([1]):
        torch.rand(10)
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("change", [{"smallest": 0.0}, {"smallest": 1.5}, {"erase": 2.0}])
def test_what_does_not_fit(change):
    with pytest.raises(ValueError, match="augment: smallest must be above 0"):
        AugmentParams(**change)
