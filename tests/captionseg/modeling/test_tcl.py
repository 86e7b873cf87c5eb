"""TCL by hand: masks, pooled cosines, highlighted regions, priors; where it starts; pictures
through an encoder.
"""

from __future__ import annotations

import dataclasses
from unittest.mock import Mock

import pytest
import torch
from torch.nn import functional as F

from captionseg.encoders.dense_head import DenseHead, HeadConfig
from captionseg.encoders.encoder import Encoder
from captionseg.encoders.text_space import PictureEncoder, TextSpace
from captionseg.modeling.layers.tcl_grounder import GrounderConfig
from captionseg.modeling.maskclip import MaskClip, MaskClipConfig
from captionseg.modeling.models import PRESETS
from captionseg.modeling.objectives.pair_losses import Texts, pooled_similarity
from captionseg.modeling.segmenter import Sizes, Start
from captionseg.modeling.tcl import Tcl, TclOutputs
from captionseg.modeling.tcl_config import GroundingChoices, TclConfig
from tests.captionseg.modeling.conftest import CONCEPTS, DENSE, TEXT

HEAD = HeadConfig(DENSE, TEXT)


def start() -> Start:
    """The head of an encoder with a random alignment."""
    torch.manual_seed(5)
    head = DenseHead(HEAD)
    head.weight.data.normal_()
    space = Mock(spec=TextSpace, head=lambda: head, build_picture_encoder=lambda: None)
    return Start(torch.zeros(1, 1), space)


def fresh(**changes) -> Tcl:
    torch.manual_seed(0)
    net = Tcl(TclConfig(noise=0.0, **changes).with_sizes(Sizes(head=HEAD)))
    net.start(start())
    return net.eval()


@pytest.mark.parametrize("gate", [0.0, 1.0])
def test_at_the_start_it_is_maskclip(make_inputs, gate):
    """The same masks exactly, for any classes."""
    frozen = MaskClip(MaskClipConfig(HEAD))
    frozen.start(start())
    inputs, classes = make_inputs(), torch.randn(5, TEXT)
    net = fresh(grounder=GrounderConfig(gate=gate))
    torch.testing.assert_close(
        net.segment(inputs, classes), frozen.segment(inputs, classes), rtol=0, atol=1e-6
    )
    assert torch.equal(net.label(inputs, classes), frozen.label(inputs, classes))


def outputs(grounded: list, frozen: list | None = None, texts: list | None = None) -> TclOutputs:
    """One image on a grid of one row, with two texts along the axes unless given."""
    maps = torch.tensor([grounded]).movedim(-1, 1)[:, :, None]
    vectors = torch.tensor([texts or [[1.0, 0.0], [0.0, 1.0]]])
    there = torch.ones(1, vectors.shape[1], dtype=torch.bool)
    concepts = torch.arange(vectors.shape[1])[None, :, None]
    cells = torch.tensor([[frozen or grounded]])
    return TclOutputs(maps, cells, None, Texts(vectors, concepts, there), concepts[..., 0])


def plain(**changes) -> Tcl:
    return Tcl(TclConfig(GrounderConfig(HeadConfig(2, 2)), texts="concepts", noise=0.0, **changes))


def test_masks_are_sigmoids_of_scaled_cosines():
    net = plain(scale=4.0, bias=-1.0)
    found = net.logits(
        torch.tensor([[[[3.0, 0.0]], [[4.0, 2.0]]]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    )
    torch.testing.assert_close(
        found[0, :, 0], torch.tensor([[4 * 0.6 - 1, -1.0], [4 * 0.8 - 1, 3.0]])
    )


def test_a_text_is_compared_with_the_mean_under_its_mask():
    masks = torch.tensor([[[[1.0, 0.5]], [[0.0, 1.0]]]])
    features = torch.tensor([[[[2.0, 0.0]], [[0.0, 4.0]]]])  # cells (2, 0) and (0, 4)
    found = pooled_similarity(masks, features, torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    # means (2, 2) / 1.5 and (0, 4)
    torch.testing.assert_close(found, torch.tensor([[2.0 / 8**0.5, 1.0]]))


def test_every_term_by_hand():
    """Two texts of one image and no negatives: contrast says which region is whose, priors are of
    own masks alone.
    """
    config = {
        "scale": 10.0,
        "bias": -5.0,
        "image_weight": 1.0,
        "feature_weight": 1.0,
        "positive_weight": 1.0,
        "smooth_features": 1.0,
        "smooth_masks": 1.0,
        "positive_area": 0.4,
    }
    net = plain(**config)
    losses = net.losses(outputs([[1.0, 0.0], [0.0, 1.0]]))
    on, off = torch.tensor(5.0).sigmoid(), torch.tensor(-5.0).sigmoid()
    torch.testing.assert_close(losses["area"], ((on + off) / 2 - 0.4).abs())
    assert losses["empty"].item() == 0.0
    torch.testing.assert_close(losses["smooth"], torch.tensor(1.0) + (on - off))
    scale = 1 / 0.07
    expected = torch.log1p(torch.exp(torch.tensor(-scale)))  # hard masks: cosines 1 and 0
    torch.testing.assert_close(losses["image"], expected)
    # no negatives, in either direction
    assert losses["feature"].item() == pytest.approx(0.0, abs=1e-6)


def test_captions_are_compared_as_they_are_and_equal_concepts_once(make_batch):
    batch = make_batch()
    captions, concepts = fresh(), fresh(texts="concepts")
    read = captions.match_texts(captions(batch))
    assert (len(read.vectors), len(read.number)) == (8, 8)
    read = concepts.match_texts(concepts(batch))
    assert len(read.number) == 24
    assert len(read.vectors) == len(batch.text_concept.unique())
    flat = concepts(batch).texts.vectors.flatten(0, 1)
    torch.testing.assert_close(read.vectors[read.number], flat)


def test_knowledge_and_background(make_inputs):
    inputs, classes = make_inputs(), F.normalize(torch.randn(4, TEXT), dim=1)
    net, mixed = fresh(), fresh(zero_shot=GroundingChoices(0.3, 0.4))
    found = mixed.segment(inputs, classes)
    assert found.shape == (2, 5, 9, 13)
    assert (found[:, 0] == 0.4).all()
    # the grid of the features: nothing is interpolated
    grid = dataclasses.replace(inputs, size=(3, 4))
    cosine = net.segment(grid, classes)
    expected = 0.3 * (10 * (cosine - 0.25)).sigmoid() + 0.7 * (10 * cosine - 2.5).sigmoid()
    torch.testing.assert_close(mixed.segment(grid, classes)[:, 1:], expected)
    labels = mixed.label(inputs, classes)
    assert torch.equal(labels, found.argmax(1) - 1)


def test_late_are_the_parameters_of_the_copied_block():
    linear, block = fresh(), Tcl(TclConfig(GrounderConfig(HeadConfig(DENSE, TEXT, hidden=7))))
    assert linear.late_parameters() == []  # an alignment has no block
    assert {id(p) for p in block.late_parameters()} == {
        id(p) for p in block.grounder.head.block.parameters()
    }
    assert not any(p.requires_grad for p in block.frozen.parameters())
    with pytest.raises(ValueError, match=r"late_from 2\.0 is no share of the steps"):
        TclConfig(late_from=2.0)


class Towers:
    """An encoder of pictures whose dense features are means of patches of 4 pixels, and their mean
    the embedding.
    """

    def __init__(self) -> None:
        self.weight = torch.randn(3, DENSE, generator=torch.Generator().manual_seed(0))

    def towers(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        dense = F.avg_pool2d(pixels / 255.0, 4).movedim(1, -1) @ self.weight
        return dense.mean((1, 2)) @ torch.eye(DENSE, TEXT), dense


@pytest.mark.parametrize("changes", [{}, {"prompt": True}])
def test_pictures_through_the_frozen_encoder(make_batch, make_inputs, changes):
    net = fresh(picture=16, **changes)
    net.attach(Mock(spec=Encoder, towers=Towers().towers))
    batch = dataclasses.replace(make_batch(), image=torch.randn(8, 3, 16, 16), dense=None)
    losses = net.losses(net(batch))
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert float(net.grounder.head.weight.grad.abs().sum()) > 0
    if net.highlighted.prompt is not None:
        assert net.highlighted.prompt.shape == (3, 16, 16)
        assert float(net.highlighted.prompt.grad.abs().sum()) > 0
    inputs = dataclasses.replace(make_inputs(), dense=None, image=torch.randn(2, 3, 24, 32))
    assert net.segment(inputs, torch.randn(CONCEPTS, TEXT)).shape == (2, CONCEPTS, 9, 13)
    assert net.config.reads.holds_encoder
    assert net.config.reads.encoder


def test_a_masked_picture_is_the_mean_colour_outside(monkeypatch):
    net = Tcl(TclConfig(GrounderConfig(HEAD), picture=8, noise=0.0))
    seen = []
    net.live = PictureEncoder(lambda pixels: (pixels, pixels), None)
    monkeypatch.setattr(
        net.live, "embed", lambda image: seen.append(image) or image.flatten(1)[:, :TEXT]
    )
    image = torch.randn(1, 3, 8, 8)
    given = outputs([[1.0, 0.0], [0.0, 1.0]])._replace(image=image)
    net.highlight(torch.tensor([[[[1.0, 0.0]]]]), given)
    assert torch.equal(seen[0][..., :4], image[..., :4])
    assert (seen[0][..., 4:] == 0).all()  # of normalised pixels


def test_the_published_configurations():
    tcl, code = PRESETS["tcl_released"](), PRESETS["code_released"]()
    assert (
        tcl.picture,
        tcl.texts,
        tcl.positive_area,
        tcl.positive_weight,
        tcl.negative_weight,
    ) == (224, "captions", 0.4, 0.4, 0.4)
    segmenter = code.tcl
    assert (segmenter.positive_area, segmenter.positive_weight, segmenter.negative_weight) == (
        0.25,
        0.5,
        0.05,
    )
    assert (segmenter.image_weight, segmenter.feature_weight, segmenter.normalised) == (
        0.1,
        0.1,
        True,
    )
    assert (code.knowledge_weight, code.region_weight, code.word_weight, code.highlight_weight) == (
        8,
        1,
        1,
        0.5,
    )
