"""Networks of timm as patch embeddings: convolutional, transformers, frozen or not."""

import pytest
import torch

from captionseg.grids import MEAN, STD
from captionseg.modeling.layers.backbone import BackboneMaps

# side of the maps of 64 pixels
NAMES = {"test_resnet": 4, "test_vit": 4, "test_efficientnet": 4, "test_convnext": 4}


@pytest.mark.parametrize("name", NAMES)
def test_maps_of_any_network_and_any_size(name):
    net = BackboneMaps(name, 8, size=64).eval()
    assert net.side == NAMES[name]
    assert net(torch.randn(2, 3, 64, 64)).shape == (2, 8, net.side, net.side)
    assert net(torch.randn(1, 3, 128, 64)).shape == (1, 8, 2 * net.side, net.side)


@pytest.mark.parametrize("frozen", [True, False])
def test_what_is_frozen_does_not_learn_and_keeps_its_statistics(frozen):
    net = BackboneMaps("test_resnet", 8, size=64, frozen=frozen).train()
    before = {k: v.clone() for k, v in net.net.state_dict().items()}
    net(torch.randn(4, 3, 64, 64)).sum().backward()
    assert all((p.grad is None) == frozen for p in net.net.parameters())
    assert net.head.weight.grad is not None
    same = all(torch.equal(v, before[k]) for k, v in net.net.state_dict().items())
    assert same == frozen


def test_a_name_that_nobody_has_is_an_error():
    with pytest.raises(ValueError, match="timm has no model 'no_such_net'"):
        BackboneMaps("no_such_net", 8, size=64)


def test_a_picture_comes_to_the_network_by_its_own_statistics():
    net, seen = BackboneMaps("tf_efficientnet_lite0", 8, size=64).eval(), []
    net.net.conv_stem.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    pixels = torch.rand(1, 3, 64, 64)
    net((pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None])
    # its own are .5 and .5; it pads as TensorFlow
    inside = torch.nn.functional.pad(2 * pixels - 1, (0, 1, 0, 1))
    assert any(torch.allclose(s[..., :64, :64], inside[..., :64, :64], atol=1e-5) for s in seen)
