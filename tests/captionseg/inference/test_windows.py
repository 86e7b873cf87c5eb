"""Where windows lie, and that they add up to what a whole prediction would be."""

import pytest
import torch

from captionseg.inference.windows import short_side, slide, starts


@pytest.mark.parametrize(
    ("length", "found"),
    [(448, [0]), (597, [0, 149]), (672, [0, 224]), (673, [0, 224, 225]), (300, [0])],
)
def test_windows_cover_everything_and_stay_inside(length, found):
    assert starts(length, 448, 224) == found


@pytest.mark.parametrize("size", [(20, 31), (8, 50), (33, 8), (16, 16)])
@pytest.mark.parametrize("batch", [1, 3, 100])
def test_a_prediction_by_pixels_is_the_same_in_windows(size, batch):
    image = torch.randn(3, *size)
    torch.testing.assert_close(slide(image, lambda x: 2 * x + 1, crop=16, stride=8, batch=batch), 2 * image + 1)


def test_overlaps_are_averaged():
    number = iter([1.0, 3.0])
    out = slide(torch.zeros(3, 4, 6), lambda x: torch.full((1, 1, 4, 4), next(number)), crop=4, stride=2, batch=1)
    assert out[0, 0].tolist() == [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]


def test_the_short_side_unless_the_long_one_is_too_long():
    assert short_side(torch.zeros(3, 100, 200), 50).shape == (3, 50, 100)
    assert short_side(torch.zeros(3, 100, 1000), 448).shape == (3, 205, 2048)
