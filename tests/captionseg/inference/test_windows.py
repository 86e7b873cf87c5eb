"""Where windows lie, and that they add up to what a whole prediction would be."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from captionseg.inference.pixels import label_pixels, mask_logits
from captionseg.inference.refine import RefineParams
from captionseg.inference.windows import (
    Protocol,
    ResolvedProtocol,
    WindowParams,
    list_starts,
    resize_short_side,
    slide_windows,
)
from captionseg.modeling.groupvit import GroupViT, groupvit_tiny
from captionseg.modeling.readout.zero_shot import ZeroShot
from captionseg.modeling.segmenter import InputSpec
from captionseg.prepared import pixel_inputs
from captionseg.records import UserError
from captionseg.segmenters.hierarchy import Hierarchy
from captionseg.segmenters.mask_makers import MasksParams


def test_windows_with_gaps_between_them_are_refused():
    with pytest.raises(ValueError, match=r"windows: a stride of 9 leaves gaps between crops of 8"):
        WindowParams(crop=8, stride=9)
    with pytest.raises(ValueError, match="sizes must not be negative"):
        WindowParams(crop=-1)
    assert WindowParams(stride=9).stride == 9  # of a crop that the model knows


@pytest.mark.parametrize(
    ("length", "found"),
    [(448, [0]), (597, [0, 149]), (672, [0, 224]), (673, [0, 224, 225]), (300, [0])],
)
def test_windows_cover_everything_and_stay_inside(length, found):
    assert list_starts(length, 448, 224) == found


@pytest.mark.parametrize("size", [(20, 31), (8, 50), (33, 8), (16, 16)])
@pytest.mark.parametrize("batch", [1, 3, 100])
def test_a_prediction_by_pixels_is_the_same_in_windows(size, batch):
    image = torch.randn(3, *size)
    torch.testing.assert_close(
        slide_windows(image, lambda x: 2 * x + 1, crop=16, stride=8, batch=batch), 2 * image + 1
    )


def test_overlaps_are_averaged():
    number = iter([1.0, 3.0])
    out = slide_windows(
        torch.zeros(3, 4, 6),
        lambda x: torch.full((1, 1, 4, 4), next(number)),
        crop=4,
        stride=2,
        batch=1,
    )
    assert out[0, 0].tolist() == [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]


def test_the_short_side_unless_the_long_one_is_too_long():
    assert resize_short_side(torch.zeros(3, 100, 200), 50).shape == (3, 50, 100)
    assert resize_short_side(torch.zeros(3, 100, 1000), 448).shape == (3, 205, 2048)


class Mean(torch.nn.Module):
    """One class a channel, its logit the pixel itself; says -1 where told to know a background."""

    def __init__(self, picture: int, background: bool = False) -> None:
        super().__init__()
        self.config = SimpleNamespace(reads=InputSpec(picture=picture))
        self.background, self.seen = background, []

    def segment(self, inputs, classes):
        self.seen.append(inputs.size)
        out = inputs.image
        return torch.cat([torch.full_like(out[:, :1], 0.5), out], 1) if self.background else out


def test_a_whole_picture_goes_through_windows_of_twice_the_training_side():
    net, image = Mean(8), torch.rand(1, 3, 16, 40)
    found = mask_logits(net, pixel_inputs(image, (16, 40)), torch.zeros(3, 2), ResolvedProtocol())
    assert net.seen == [(16, 16)]  # four windows of 16 with stride 8, in one batch
    torch.testing.assert_close(found, image[0])
    small, tiled = Mean(8), ResolvedProtocol(WindowParams(crop=8, stride=8, batch=4))
    mask_logits(small, pixel_inputs(image, (16, 40)), torch.zeros(3, 2), tiled)
    assert small.seen == [(8, 8)] * 3  # ten windows


def test_a_model_that_looks_at_segments_sees_the_whole_picture_at_once():
    net, inputs = Mean(8), pixel_inputs(torch.rand(1, 3, 16, 40), (16, 40))
    net.config.reads = InputSpec(picture=8, segments=4)
    torch.testing.assert_close(
        mask_logits(net, inputs, torch.zeros(3, 2), ResolvedProtocol()), inputs.image[0]
    )
    assert net.seen == [(16, 40)]
    net.label = lambda inputs, classes: torch.full((1, *inputs.size), 2)
    assert (
        label_pixels(net, inputs, torch.zeros(3, 2), ResolvedProtocol(refine=RefineParams())) == 2
    ).all()


def test_the_size_asked_for_and_the_background():
    image = torch.rand(1, 3, 20, 20)
    inputs = pixel_inputs(image, (33, 50))
    found = label_pixels(Mean(10), inputs, torch.zeros(3, 2), ResolvedProtocol())
    assert found.shape == (33, 50)
    assert set(found.unique().tolist()) <= {0, 1, 2}
    dark = pixel_inputs(torch.zeros(1, 3, 20, 20), (20, 20))
    assert (
        label_pixels(Mean(10, background=True), dark, torch.zeros(3, 2), ResolvedProtocol()) == -1
    ).all()


@pytest.mark.parametrize("background", [None, 0.1])
def test_labels_do_not_depend_on_how_many_windows_are_a_batch(background):
    """Groups of a model of random weights, large enough that they differ."""
    torch.manual_seed(0)
    preset = groupvit_tiny()
    encoder = replace(preset.towers.encoder, size=32, width=48, depths=[1, 1])
    config = replace(
        preset,
        towers=replace(preset.towers, encoder=encoder),
        zero_shot=ZeroShot("groups", "product", top_k=3, background=background),
    )
    net = GroupViT(config).eval()
    with torch.no_grad():
        for weight in net.towers.vision.parameters():
            weight.mul_(6.0 if weight.ndim > 1 else 1.0)
    classes = torch.nn.functional.normalize(torch.randn(7, preset.towers.embedding), dim=1)
    image = torch.nn.functional.interpolate(torch.rand(1, 3, 7, 9), (70, 93), mode="bicubic")
    with torch.inference_mode():
        found = {
            batch: (
                label_pixels(net, inputs, classes, asked),
                mask_logits(net, inputs, classes, asked),
            )
            for batch in (1, 3, 8, 100)
            for inputs in [pixel_inputs(image, (70, 93))]
            for asked in [ResolvedProtocol(WindowParams(64, 32, 16, batch))]
        }
    assert found[1][0].unique().numel() > 1
    for labels, logits in found.values():
        assert torch.equal(labels, found[1][0])
        torch.testing.assert_close(logits, found[1][1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("change", [{"crop": -1}, {"batch": 0}])
def test_windows_that_are_none(change):
    with pytest.raises(ValueError, match="windows: sizes must not be negative"):
        WindowParams(**change)


def test_the_protocol_of_a_saved_model():
    saved = {"refine": {"method": "pamr", "side": 56}}
    assert Protocol().resolve({}).refine == RefineParams()
    assert Protocol().resolve(saved).refine == RefineParams("pamr", side=56)
    assert Protocol(refine=RefineParams("segments")).resolve(saved).refine == RefineParams(
        "segments"
    )
    with pytest.raises(UserError, match="metod"):
        Protocol().resolve({"refine": {"metod": "pamr"}})
    asked = {"masks": {"maker": "hierarchy", "hierarchy": {"max_masks": 9}}}
    assert Protocol().resolve({}).masks == MasksParams()
    assert Protocol().resolve(asked).masks == MasksParams(
        "hierarchy", hierarchy=Hierarchy(max_masks=9)
    )
    assert Protocol(masks=MasksParams(aggregate="max")).resolve(asked).masks == MasksParams(
        aggregate="max"
    )
