"""NACLIP's attention, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from captionseg.encoders.last_block import Attended
from captionseg.modeling.naclip import Naclip, NaclipConfig, attend_nearby, measure_nearness
from tests.captionseg.modeling.test_sclip import softmax


def test_nearness_of_patches_by_hand():
    """A grid of 2 x 2, and one of a single column: 1 with itself, exp(-distance^2 / 50)."""
    side, diagonal = math.exp(-1 / 50), math.exp(-2 / 50)
    expected = [
        [1, side, side, diagonal],
        [side, 1, diagonal, side],
        [side, diagonal, 1, side],
        [diagonal, side, side, 1],
    ]
    torch.testing.assert_close(measure_nearness(2, 2, 5.0), torch.tensor(expected))
    column = measure_nearness(3, 1, deviation=1.0)[0]
    torch.testing.assert_close(column, torch.tensor([1.0, math.exp(-0.5), math.exp(-2.0)]))


def test_weights_by_hand():
    """A class token and two patches, a head of 4 channels: products are halved."""
    key = torch.tensor([[0.0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]])[None, None]
    near = math.exp(-1 / 50)
    # the class token is near to nothing
    expected = [softmax(0, 0, 0), softmax(0, 2, 1 + near), softmax(0, 1 + near, 2)]
    torch.testing.assert_close(attend_nearby(key, (1, 2), 5.0)[0, 0], torch.tensor(expected))


@pytest.mark.parametrize("others", [0, 1, 5])
def test_where_keys_are_zero_places_alone_decide(others):
    """Whatever stands before the patches: nothing, a class token, or registers too."""
    value = torch.randn(1, 1, others + 6, 4)
    near = torch.nn.functional.pad(measure_nearness(2, 3, 2.0), (others, 0, others, 0))
    model = Naclip(NaclipConfig(deviation=2.0))
    attended = Attended(value, torch.zeros_like(value), value, (2, 3))
    torch.testing.assert_close(
        model.mix(attended, torch.zeros(0)).value, (near.softmax(1) @ value[0, 0])[None, None]
    )
