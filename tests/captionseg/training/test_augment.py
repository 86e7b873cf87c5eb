"""Augmentation is timm's, and a function of its seed alone."""

import random
import sys
import threading

import numpy as np
import pytest
import torch

from captionseg.grids import MEAN, STD, Window, shares
from captionseg.training.augment import (
    Augmenter,
    AugmentParams,
    Cropper,
    fix_seed,
    separate_generators,
)

IMAGE = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)


def test_the_same_seed_gives_the_same_crop_whatever_was_drawn_before():
    augment = Augmenter(AugmentParams(), 16)
    first = augment(IMAGE, [0, 1, 2])
    torch.rand(7)
    augment(IMAGE, [5])
    assert torch.equal(augment(IMAGE, [0, 1, 2]), first)
    assert first.shape == (3, 16, 16)
    assert not torch.equal(augment(IMAGE, [0, 1, 3]), first)


@pytest.fixture
def draw_elsewhere():
    """Starts a thread that draws from the global generators until the test ends."""
    interval, done = sys.getswitchinterval(), threading.Event()

    def draw():
        while not done.is_set():
            random.random()
            np.random.random()

    thread = threading.Thread(target=draw)
    sys.setswitchinterval(1e-6)
    yield thread.start
    done.set()
    thread.join()
    sys.setswitchinterval(interval)


def test_random_numbers_that_other_threads_draw_change_nothing(draw_elsewhere):
    augment = Augmenter(AugmentParams(randaugment="rand-m9-n4-mstd0.5-inc1"), 16)
    alone = [augment(IMAGE, [seed]) for seed in range(10)]
    draw_elsewhere()
    assert all(torch.equal(augment(IMAGE, [seed]), crop) for seed, crop in enumerate(alone))


def test_numbers_of_a_seed_are_those_of_the_global_generators():
    own, of_numpy = separate_generators()
    with fix_seed([3]):
        found = own.random(), of_numpy.random(), torch.rand(1).item()
    number = int(np.random.default_rng([3]).integers(2**31))
    of_torch = torch.Generator().manual_seed(number)
    assert found == (
        random.Random(number).random(),
        np.random.RandomState(number).random(),
        torch.rand(1, generator=of_torch).item(),
    )


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
    with fix_seed([1]):
        torch.rand(10)
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("change", [{"smallest": 0.0}, {"smallest": 1.5}, {"erase": 2.0}])
def test_what_does_not_fit(change):
    with pytest.raises(ValueError, match="augment: smallest must be above 0"):
        AugmentParams(**change)


def test_a_crop_and_its_window_by_hand():
    """40 x 60 at half and at twice the size, in crops of 40."""
    crop, window = Cropper(AugmentParams(scales=(0.5, 0.5)), 40)(IMAGE, [0])
    assert window == Window(0.0, 0.0, 0.5, 0.75)
    assert (crop[:, 20:] == 0).all()
    assert (crop[:, :, 30:] == 0).all()
    assert crop[:, :20, :30].abs().min() > 0
    same, window = Cropper(AugmentParams(scales=(1.0, 1.0)), 60)(
        np.ascontiguousarray(IMAGE[:, :40]), [0]
    )
    assert window == Window(0.0, 0.0, 1.0, 1.0)
    assert same.shape == (3, 60, 60)
    crop, window = Cropper(AugmentParams(scales=(1.0, 1.0)), 40)(IMAGE, [3])
    left = round(-40 * window.left)
    assert 0 < left < 20
    assert window == Window(0.0, -left / 40, 1.0, (60 - left) / 40)
    pixels = (
        torch.from_numpy(IMAGE[:, left : left + 40] / 255.0).float() - torch.tensor(MEAN)
    ) / torch.tensor(STD)
    torch.testing.assert_close(crop.permute(1, 2, 0), pixels)


@pytest.mark.parametrize("scales", [(0.5, 2.0), (2.0, 2.0), (0.3, 0.9)])
def test_masks_follow_the_crop(scales):
    """A white shape drawn on black: what of each cell of the crop is white is the share of its
    mask.
    """
    mask = np.zeros((90, 120), bool)
    mask[10:50, 20:45], mask[60:80, 70:118] = True, True
    image = np.repeat(255 * mask[..., None], 3, 2).astype(np.uint8)
    augment = Cropper(AugmentParams(scales=scales), 96)
    for seed in range(20):
        crop, window = augment(image, [seed])
        grey = (crop * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None])[0]
        inside = torch.from_numpy(shares(np.ones((1, 90, 120), bool), (96, 96), window))[0] > 0.99
        white = torch.nn.functional.avg_pool2d((grey * inside)[None], 16)[0]
        found = shares(mask[None], (6, 6), window)[0]
        assert np.abs(found - white.numpy()).max() < 0.06


def test_crops_depend_on_their_seed_alone_and_reach_everywhere():
    augment, windows = Cropper(AugmentParams(), 16), set()
    for seed in range(40):
        crop, window = augment(IMAGE, [seed])
        torch.rand(3)
        again = augment(IMAGE, [seed])
        assert torch.equal(crop, again[0])
        assert window == again[1]
        assert -1e-9 <= -window.top <= max(0.0, window.bottom - window.top - 1) + 1e-9
        windows.add(window)
    sizes = [w.bottom - w.top for w in windows]
    assert len(windows) > 35
    assert min(sizes) < 0.7
    assert max(sizes) > 1.8


@pytest.mark.parametrize("scales", [(1.0,), (2.0, 1.0), (0.0, 1.0)])
def test_scales_that_make_no_sense_are_refused(scales):
    with pytest.raises(ValueError, match="must be two, above 0, the smaller first"):
        AugmentParams(scales=scales)
