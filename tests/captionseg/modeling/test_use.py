"""USE by hand: what is embedded, which segments have texts, regions of a picture, and what its
fields refuse.
"""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch.nn import functional as F

from captionseg.encoders.dense_head import HeadConfig
from captionseg.modeling.segmenter import Sizes
from captionseg.modeling.use import Use, make_region_masks, reduce_masks
from captionseg.modeling.use_config import UseConfig
from tests.captionseg.modeling.conftest import DENSE, TEXT

SIZES = Sizes(texts=TEXT, head=HeadConfig(DENSE, TEXT))


def fresh(**changes) -> Use:
    torch.manual_seed(0)
    return Use(UseConfig(**changes).with_sizes(SIZES)).eval()


def test_shares_of_regions_by_hand():
    labels = torch.tensor([[[0, 0, 1], [0, 2, 1]]], dtype=torch.uint8)
    shares = reduce_masks(make_region_masks(labels, 4), (1, 2))
    expected = torch.tensor([[[[5 / 6, 0.0]], [[0.0, 4 / 6]], [[1 / 6, 1 / 6]], [[0.0, 0.0]]]])
    expected[0, 0, 0, 1] = 1 / 6
    torch.testing.assert_close(shares, expected)
    torch.testing.assert_close(shares.sum(1), torch.ones(1, 1, 2))


def test_widths_come_from_the_data():
    config = UseConfig().with_sizes(SIZES)
    assert (config.towers, config.text_width) == (((DENSE,),), TEXT)
    two = UseConfig(towers=((2, 2), (1,)), width=3).with_sizes(SIZES)
    net = Use(two)
    assert [len(tower.norms) for tower in net.encoder.towers] == [2, 1]
    assert net.encoder.head.in_features == 3 + 2 + 3 + 1
    assert Use(dataclasses.replace(two, cls=False)).encoder.head.in_features == 6


def test_towers_are_channels_and_their_last_block_gives_the_picture():
    net = fresh(towers=((2, 2), (1,)))
    dense, masks, seen = torch.randn(2, 3, 4, DENSE), torch.rand(2, 3, 3, 4), []
    net.encoder.forward = lambda *given: seen.append(given) or torch.ones(2, 3, TEXT)
    net.embed(dense, masks)
    towers, _, cls = seen[0]
    for found, part in zip(
        (*towers[0], *towers[1]), (slice(0, 2), slice(2, 4), slice(4, 5)), strict=True
    ):
        assert torch.equal(found, dense[..., part])
    torch.testing.assert_close(cls[0], F.layer_norm(dense[..., 2:4].mean((1, 2)), (2,)))
    assert len(cls) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"segments": 0}, "segments 0 leaves nothing"),
        ({"logit_scale": 1 / 30}, "below 1 nothing is learnt"),
        ({"towers": ((2, 2),)}, "blocks of 4 channels, dense features of 5"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        UseConfig(**changes).with_sizes(SIZES)


def test_segments_that_hardly_touch_the_grid_have_no_text(make_batch):
    batch, net = make_batch(), fresh()
    assert batch.segments is not None
    batch.segments.masks[1, 2] *= 0.249 / batch.segments.masks[1, 2].sum()
    batch.segments.masks[3, 0] = 0.0
    outputs = net(batch)
    gone = outputs.number != batch.segments.number
    assert gone.nonzero().tolist() == [[1, 2], [3, 0]]
    assert (outputs.number[gone] == -1).all()
    torch.testing.assert_close(outputs.segments.norm(dim=-1), torch.ones(8, 3))
    named = dataclasses.replace(batch.segments, number=torch.where(gone, -1, batch.segments.number))
    few = dataclasses.replace(batch, segments=named)
    torch.testing.assert_close(net.losses(net(few)), net.losses(outputs))


def test_the_loss_of_one_pair_is_zero_and_of_two_is_by_hand(make_batch):
    net, batch = fresh(logit_scale=2.0), make_batch(images=2, drawn=[1, 0])
    assert net.losses(net(batch))["segment"].item() == 0.0
    outputs = net(make_batch(images=2, drawn=[1, 1], seed=1))
    a, b = outputs.number[:, 0].tolist()
    assert a != b
    assert not {a, b} & {*outputs.known[0, 0, 1:].tolist(), *outputs.known[1, 0, 1:].tolist()}
    s = (2.0 * outputs.segments[:, 0] @ outputs.texts[:, 0].T).tolist()
    terms = [
        math.log(1 + math.exp(d))
        for d in (s[0][1] - s[0][0], s[1][0] - s[1][1], s[1][0] - s[0][0], s[0][1] - s[1][1])
    ]
    assert net.losses(outputs)["segment"].item() == pytest.approx(sum(terms) / 4, rel=1e-5)


def test_a_region_is_embedded_as_a_segment_of_the_same_pixels_is(make_inputs):
    net, inputs, classes = fresh(), make_inputs(size=(6, 6)), torch.randn(5, TEXT)
    masks = reduce_masks(make_region_masks(inputs.labels, 4), (3, 4))
    expected = net.embed(inputs.dense, masks) @ F.normalize(classes, dim=1).T
    painted = net.segment(inputs, classes)
    for row in range(6):
        for column in range(6):
            region = int(inputs.labels[0, row, column])
            torch.testing.assert_close(painted[:, :, row, column], expected[:, region])


def test_masks_of_inputs_may_overlap_and_have_any_grid(make_inputs):
    net, inputs = fresh(), make_inputs()
    masks = torch.zeros(2, 3, 6, 8, dtype=torch.bool)
    masks[:, 0, :4], masks[:, 1, 2:], masks[:, 2, 1, 3] = True, True, True
    found = net.embed_inputs(inputs, masks)
    torch.testing.assert_close(found.norm(dim=2), torch.ones(2, 3))
    small = F.avg_pool2d(masks.float(), 2)
    torch.testing.assert_close(found, net.embed(inputs.dense, small))
    finer = masks.float().repeat_interleave(3, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(net.embed_inputs(inputs, finer), found)


def test_probabilities_make_the_same_labels(make_inputs):
    inputs, classes = make_inputs(), torch.randn(5, TEXT)
    cosine, soft = fresh(), fresh(score="softmax")
    assert torch.equal(cosine.label(inputs, classes), soft.label(inputs, classes))
    found = soft.segment(inputs, classes)
    torch.testing.assert_close(found.sum(1), torch.ones(2, 9, 13))
    torch.testing.assert_close(found, (30.0 * cosine.segment(inputs, classes)).softmax(1))
