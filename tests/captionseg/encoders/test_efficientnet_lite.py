"""EfficientNet-Lite0 against timm's."""

import pytest
import timm
import torch

from captionseg.encoders.efficientnet_lite import EfficientNetLite0, SameConv
from captionseg.encoders.lite0_minilm import image_weights


@pytest.fixture(scope="module")
def networks():
    ours = EfficientNetLite0()
    theirs = timm.create_model("tf_efficientnet_lite0", pretrained=False, output_stride=16)
    for net in (ours, theirs):
        net.load_state_dict(image_weights(net), strict=False)
        net.eval()
    return ours, theirs


@pytest.mark.parametrize(("height", "width"), [(64, 64), (49, 80)])
def test_both_maps_are_those_of_timm(networks, height, width):
    ours, theirs = networks
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, 3, height, width, generator=generator) * 2 - 1
    with torch.inference_mode():
        block, head = ours(x)
        y = theirs.bn1(theirs.conv_stem(x))
        maps = [y := stage(y) for stage in theirs.blocks]
        expected = theirs.bn2(theirs.conv_head(y))
    assert torch.equal(block, maps[-3])
    assert torch.equal(head, expected)
    assert head.shape == (1, 1280, -(-height // 16), -(-width // 16))


def test_what_does_not_divide_is_padded_to_the_right_and_below():
    conv = SameConv(1, 1, 3, stride=2, bias=False)
    torch.nn.init.ones_(conv.weight)
    with torch.no_grad():
        even, odd = (conv(torch.ones(1, 1, side, side))[0, 0] for side in (4, 5))
    assert even.tolist() == [[9, 6], [6, 4]]
    assert odd.tolist() == [[4, 6, 4], [6, 9, 6], [4, 6, 4]]
