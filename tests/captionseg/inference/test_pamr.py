"""Refinement of masks against a dense form that is written anew here."""

import numpy as np
import pytest
import torch

from captionseg.inference.pamr import (
    add_slices,
    index_neighbours,
    multiply_sparse,
    pamr,
    weigh_neighbours,
)

DILATIONS = (1, 2, 5)


def dense(image: np.ndarray, masks: np.ndarray, iterations: int) -> np.ndarray:
    """Pixel by pixel, as the formula reads; image [3, H, W], masks [C, H, W]."""
    _, height, width = image.shape
    offsets = [
        (d * dy, d * dx) for d in DILATIONS for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx
    ]
    for _ in range(iterations):
        out = np.zeros_like(masks)
        for y in range(height):
            for x in range(width):
                at = [
                    (min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1))
                    for dy, dx in offsets
                ]
                around = np.array([image[:, i, j] for i, j in at])
                spread = np.concatenate(
                    [around, np.repeat(image[None, :, y, x], len(DILATIONS), 0)]
                ).std(0, ddof=1)
                logit = (-np.abs(around - image[:, y, x]) / (1e-8 + 0.1 * spread)).mean(1)
                weight = np.exp(logit - logit.max())
                weight /= weight.sum()
                out[:, y, x] = sum(w * masks[:, i, j] for w, (i, j) in zip(weight, at, strict=True))
        masks = out
    return masks


@pytest.fixture
def scene() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.rand(3, 9, 13, dtype=torch.float64), torch.rand(4, 9, 13, dtype=torch.float64)


def test_the_dense_form_pixel_by_pixel(scene):
    image, masks = scene
    expected = dense(image.numpy(), masks.numpy(), 3)
    found = pamr(image, masks, iterations=3, dilations=DILATIONS)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_both_ways_of_multiplying_are_one(scene):
    image, masks = (x.float() for x in scene)
    weights = weigh_neighbours(image, DILATIONS)
    index = index_neighbours((9, 13), DILATIONS)
    first = multiply_sparse(masks.flatten(1), weights.flatten(1), index, 4)
    second = add_slices(masks, weights, DILATIONS, 4)
    torch.testing.assert_close(first, second.flatten(1))


def test_constant_masks_are_fixed_points_and_no_mask_leaves_its_range(scene):
    image, masks = scene
    torch.testing.assert_close(
        pamr(image, torch.full((2, 9, 13), 0.7)), torch.full((2, 9, 13), 0.7)
    )
    found = pamr(image, masks)
    assert masks.amin() <= found.amin()
    assert found.amax() <= masks.amax()


def test_scale_and_brightness_of_the_picture_do_not_matter(scene):
    image, masks = scene
    torch.testing.assert_close(pamr(3 * image - 1, masks), pamr(image, masks), atol=1e-4, rtol=1e-4)


def test_a_blurred_border_moves_to_the_edge_of_the_picture():
    image = torch.zeros(3, 24, 24)
    image[:, :, 12:] = 1.0
    image += 0.01 * torch.rand(3, 24, 24, generator=torch.Generator().manual_seed(0))
    masks = torch.linspace(0, 1, 24).expand(1, 24, 24)
    found = pamr(image, masks)[0, 12]
    assert found[11] < 0.35
    assert found[12] > 0.65


def test_a_picture_of_another_size_is_resized():
    torch.manual_seed(0)
    assert pamr(torch.rand(3, 40, 60), torch.rand(5, 10, 15)).shape == (5, 10, 15)
