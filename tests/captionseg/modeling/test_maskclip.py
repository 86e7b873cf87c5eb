"""Cosines of dense features and classes, and both options by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from unittest.mock import Mock

import pytest
import torch

from captionseg.encoders.dense_head import HeadConfig, build_alignment_head
from captionseg.encoders.text_space import TextSpace, denormalise
from captionseg.model_inputs import Inputs
from captionseg.modeling.maskclip import MaskClip, MaskClipConfig, smooth_unsure
from captionseg.modeling.segmenter import Start
from captionseg.prepared import pixel_inputs, without_regions
from tests.captionseg.modeling.tiny_vit import TinyVit


def inputs(dense: list, size: tuple[int, int] = (1, 2)) -> Inputs:
    return replace(without_regions(1, size), dense=torch.tensor([dense]))


def test_each_cell_has_the_class_of_its_nearest_direction():
    net = MaskClip(MaskClipConfig(HeadConfig(2, 2)))
    found = net.segment(inputs([[[2.0, 0.0], [3.0, 4.0]]]), torch.tensor([[5.0, 0.0], [0.0, 1.0]]))
    torch.testing.assert_close(found[0, :, 0], torch.tensor([[1.0, 0.6], [0.0, 0.8]]))
    assert net.label(inputs([[[2.0, 0.0], [3.0, 4.0]]]), torch.eye(2)).tolist() == [[[0, 1]]]


def test_the_alignment_of_an_encoder_that_is_not_in_the_space_of_texts():
    net = MaskClip(MaskClipConfig(HeadConfig(3, 2)))
    mean, scale = torch.tensor([1.0, 1.0, 1.0]), torch.tensor([2.0, 1.0, 1.0])
    weight = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    net.start(
        Start(
            torch.zeros(1, 1),
            Mock(spec=TextSpace, head=lambda: build_alignment_head(mean, scale, weight)),
        )
    )
    found = net.similarity(inputs([[[7.0, 5.0, 9.0]]]), torch.eye(2))  # (3, 4, 8) -> (4, 3)
    torch.testing.assert_close(found[0, :, 0, 0], torch.tensor([0.8, 0.6]))
    assert not any(p.requires_grad for p in net.parameters())


def test_pictures_through_the_encoder_are_its_features_through_the_head():
    torch.manual_seed(0)
    encoder, image, classes = TinyVit(4), torch.randn(2, 3, 32, 48), torch.randn(3, 5)
    net = MaskClip(MaskClipConfig(HeadConfig(4, 5), picture=16))
    torch.nn.init.normal_(net.head.weight)
    assert net.config.reads.windows
    space = Mock(spec=TextSpace, encoder=encoder, head=lambda: net.head)
    net.start(Start(torch.zeros(1, 1), space))
    cached = MaskClip(MaskClipConfig(HeadConfig(4, 5)))
    cached.load_state_dict(net.state_dict())
    dense = encoder.towers(denormalise(image))[1].detach()
    expected = cached.segment(replace(without_regions(2, (8, 12)), dense=dense), classes)
    torch.testing.assert_close(net.segment(pixel_inputs(image, (8, 12)), classes), expected)


def test_prompt_denoising_leaves_out_what_is_nowhere_likely():
    dense = [[[1.0, 0.0], [0.6, 0.8]]]
    classes = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.96, -0.28]])
    plain = MaskClip(MaskClipConfig(HeadConfig(2, 2), scale=20.0)).similarity(
        inputs(dense), classes
    )
    denoised = MaskClipConfig(HeadConfig(2, 2), scale=20.0, prompt_denoising=0.6)
    found = MaskClip(denoised).similarity(inputs(dense), classes)
    probability = (20.0 * plain).softmax(1).amax((2, 3))[0]
    assert (probability < 0.6).tolist() == [False, False, True]
    assert (found[0, 2] == -1).all()
    torch.testing.assert_close(found[0, :2], plain[0, :2])
    every = MaskClip(replace(denoised, scale=0.1)).similarity(inputs(dense), classes)
    torch.testing.assert_close(every, plain)  # where all would go, none does


def test_key_smoothing_by_hand():
    probability = torch.tensor([[[[0.9, 0.5]], [[0.1, 0.5]]]])
    dense = torch.tensor([[[[1.0, 0.0], [0.6, 0.8]]]])
    expected = (0.6 * 0.9 + 1.0 * 0.5) / 1.6  # the unsure cell looks at both, by their cosines
    found = smooth_unsure(probability, dense, 0.8)
    torch.testing.assert_close(found[0, 0, 0], torch.tensor([0.9, expected]))
    everywhere = smooth_unsure(probability, dense, 1.0)
    torch.testing.assert_close(
        everywhere[0, 0, 0], torch.tensor([(0.9 + 0.6 * 0.5) / 1.6, expected])
    )
    torch.testing.assert_close(everywhere.sum(1), torch.ones(1, 1, 2))


@pytest.mark.parametrize("changes", [{"prompt_denoising": 0.5}, {"key_smoothing": 1.0}])
def test_options_keep_scores_finite(changes):
    net = MaskClip(MaskClipConfig(HeadConfig(4, 4), **changes))
    torch.manual_seed(0)
    found = net.segment(inputs(torch.randn(3, 5, 4).tolist(), (7, 9)), torch.randn(6, 4))
    assert found.shape == (1, 6, 7, 9)
    assert math.isfinite(float(found.sum()))
