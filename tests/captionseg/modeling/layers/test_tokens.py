"""Patches with positions for any size; regions by the data's statistics."""

import torch
from torch.nn import functional as F

from captionseg.modeling.layers.tokens import PatchTokens, RegionNorm, RegionTokens


def patches(width: int, size: int, patch: int) -> PatchTokens:
    return PatchTokens(torch.nn.Conv2d(3, width, patch, patch), width, size // patch)


def test_patches_in_rows_with_the_positions_of_training():
    net = patches(8, 32, 16)
    tokens, grid = net(torch.randn(2, 3, 32, 32))
    assert (tokens.shape, grid) == ((2, 4, 8), (2, 2))
    assert net.positions((2, 2)) is net.position


def test_a_patch_is_what_the_convolution_makes_of_it():
    net, image = patches(8, 32, 16), torch.randn(1, 3, 32, 32)
    patch = F.conv2d(image[:, :, :16, 16:], net.projection.weight, net.projection.bias).flatten()
    torch.testing.assert_close(net(image)[0][0, 1], net.norm(patch) + net.position[0, 1])


def test_positions_are_resized_for_other_sizes():
    net = patches(8, 64, 16)
    tokens, grid = net(torch.randn(1, 3, 48, 80))
    assert (tokens.shape, grid) == ((1, 15, 8), (3, 5))
    with torch.no_grad():
        net.position.fill_(0.5)
    torch.testing.assert_close(net.positions((7, 3)), torch.full((1, 21, 8), 0.5))


def test_regions_are_standardised_by_the_sample():
    net = RegionTokens(3, 4)
    sample = torch.randn(500, 3) * torch.tensor([1.0, 100.0, 0.1]) + 5
    net.norm.standardise(sample)
    x = (sample - net.norm.mean) / net.norm.scale
    torch.testing.assert_close(x.mean(0), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(net.eval()(sample[None])[0], net.mlp(x))


def test_dropout_is_one_mask_an_image():
    torch.manual_seed(0)
    out = RegionNorm(50, dropout=0.5).train()(torch.ones(3, 6, 50))
    assert (out == out[:, :1]).all()
    assert not torch.equal(out[0, 0], out[1, 0])
