"""ProxyCLIP's attention by hand, in pictures that are all alike, and over grids that differ."""

from __future__ import annotations

import math
from dataclasses import replace
from unittest.mock import Mock

import pytest
import torch
from torch.nn import functional as F

from captionseg.encoders.last_block import Attended
from captionseg.encoders.text_space import TextSpace
from captionseg.modeling.layers.backbone import Network
from captionseg.modeling.proxyclip import ProxyClip, ProxyClipConfig, attend_by_proxy
from captionseg.modeling.segmenter import Start
from captionseg.records import UserError
from tests.captionseg.modeling.test_sclip import softmax
from tests.captionseg.modeling.tiny_vit import TinyVit


def test_weights_by_hand():
    """Cosines of (1, 0), (3, 4) and (0, 2) are .6, 0 and .8; their mean is (3 + 2 * 1.4) / 9."""
    features = torch.tensor([[[[1.0, 3.0, 0.0]], [[0.0, 4.0, 2.0]]]])
    shift = 1.2 * 5.8 / 9  # .773
    same, high = 3 * (1 - shift), 3 * (0.8 - shift)
    expected = torch.tensor(
        [
            [1.0, 0.0, 0.0],  # .6 and 0 are below the shift
            [0.0, *softmax(same, high)],
            [0.0, *softmax(high, same)],
        ]
    )
    torch.testing.assert_close(attend_by_proxy(features, beta=1.2, gamma=3.0)[0], expected)
    # without a shift nothing is below it
    plain = attend_by_proxy(features, beta=0.0, gamma=1.0)[0, 0]
    torch.testing.assert_close(plain, torch.tensor(softmax(1, 0.6, 0)))


def test_a_picture_that_is_all_alike_attends_to_all_of_it():
    """1 - 1.2 < 0 even for a cell and itself; a softmax over nothing would be NaN."""
    found = attend_by_proxy(torch.ones(2, 5, 2, 3), beta=1.2, gamma=3.0)
    torch.testing.assert_close(found, torch.full((2, 6, 6), 1 / 6))


def test_each_picture_has_its_own_mean():
    features = torch.cat([torch.ones(1, 4, 2, 2), torch.randn(1, 4, 2, 2)])
    found = attend_by_proxy(features, beta=1.2, gamma=3.0)
    torch.testing.assert_close(found[1:], attend_by_proxy(features[1:], beta=1.2, gamma=3.0))
    torch.testing.assert_close(found.sum(2), torch.ones(2, 4))


@pytest.fixture
def model() -> ProxyClip:
    """Of a foundation model whose features are the pixels, in cells of 8."""
    made = ProxyClip(ProxyClipConfig())
    made.foundation = lambda image: F.avg_pool2d(image, 8)  # type: ignore[assignment]
    return made


@pytest.mark.parametrize("resample", ["values", "features"])
def test_values_are_those_of_patches_on_the_grid_asked_for(model, resample):
    """Patches of 16 pixels with a class token and two registers, in two heads; cells of 8."""
    model.config = replace(model.config, resample=resample)
    torch.manual_seed(0)
    image, value = torch.randn(2, 3, 32, 48), torch.randn(2, 2, 9, 4)
    mixed = model.mix(Attended(value, value, value, (2, 3)), image)
    grid = (4, 6) if resample == "values" else (2, 3)
    assert mixed.grid == grid
    options = {"size": grid, "mode": "bilinear", "align_corners": False}
    features = F.interpolate(F.avg_pool2d(image, 8), **options)
    weights = attend_by_proxy(features, beta=1.2, gamma=3.0)
    for head in range(2):
        maps = value[:, head, 3:].mT.unflatten(2, (2, 3))
        cells = F.interpolate(maps, **options).flatten(2).mT
        torch.testing.assert_close(mixed.value[:, head], weights @ cells)


def test_the_foundation_model_needs_a_file(networks):
    data = Start(torch.zeros(1, 1), Mock(spec=TextSpace, encoder=TinyVit(4)))
    with pytest.raises(UserError, match=r"proxyclip\.foundation.weights: empty; name a file with"):
        ProxyClip(ProxyClipConfig()).start(data)
    made = ProxyClip(ProxyClipConfig(foundation=replace(networks[0], blocks=0)))
    made.start(data)
    assert made.foundation.loaded is not None
    assert not made.state_dict()
    assert math.isfinite(made.dense(torch.randn(1, 3, 48, 64)).sum())
    with pytest.raises(ValueError, match="foundation: open_clip:ViT-B-16: name a network of timm"):
        ProxyClip(ProxyClipConfig(foundation=Network("open_clip:ViT-B-16")))
