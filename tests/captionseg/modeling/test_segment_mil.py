"""segment_mil on numbers small enough to follow by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from captionseg.encoders.alignment import Alignment
from captionseg.encoders.text_space import TextSpace
from captionseg.losses.contrastive import contrastive_loss
from captionseg.model_inputs import Inputs
from captionseg.modeling.objectives.bags import Bags
from captionseg.modeling.segment_mil import SegmentMil, SegmentMilConfig
from captionseg.modeling.segmenter import Sizes, Start


def model(**changes) -> SegmentMil:
    torch.manual_seed(0)
    return SegmentMil(
        SegmentMilConfig(**{"region_width": 3, "text_width": 4, "hidden": 5, "width": 2, **changes})
    )


REGIONS = torch.tensor([[[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]]])
MASK = torch.tensor([[True, True, False], [True, False, False]])
TEXTS = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
# cosines of the real regions; image 0: 1 and .6 with text 0, 0 and .8 with text 1; image 1: 0 and 1


def outputs(
    archive: list[list[int]], text_concept: list[list[int]], caption_concepts: list[list[int]]
) -> Bags:
    count = len(text_concept[0])
    # image 0: text 0 then 1; image 1: text 1 then 0
    texts = torch.stack([TEXTS, TEXTS.flip(0)])[:, :count]
    return Bags(
        REGIONS,
        MASK,
        TEXTS,
        texts,
        torch.tensor(caption_concepts),
        torch.tensor(text_concept),
        torch.tensor(archive),
    )


def test_both_losses_are_eq_1_to_4_over_bag_similarities():
    net = model(pool_temperature=0.0, temperature=0.5, mask_negatives=False)
    out = net.losses(outputs([[-1], [-1]], [[0, 1], [2, 3]], [[0], [1]]))
    # images in rows, their captions in columns
    caption = torch.tensor([[1.0, 0.8], [0.0, 1.0]]) / 0.5
    eye = torch.eye(2, dtype=torch.bool)
    expected = 0.5 * (
        F.cross_entropy(caption, torch.arange(2)) + F.cross_entropy(caption.T, torch.arange(2))
    )
    torch.testing.assert_close(out["caption"], expected)
    concept = caption[:, [0, 1, 1, 0]]
    own = eye.repeat_interleave(2, 1)
    everything = torch.ones_like(own)
    eq_3, eq_4 = (
        contrastive_loss(concept, own, everything),
        contrastive_loss(concept.T, own.T, everything.T),
    )
    torch.testing.assert_close(out["concept"], 0.5 * (eq_3 + eq_4))


def test_texts_that_were_not_drawn_are_not_there():
    net = model(pool_temperature=0.0, mask_negatives=False)
    padded = net.losses(outputs([[-1], [-1]], [[0, -1], [1, -1]], [[0], [1]]))
    short = net.losses(outputs([[-1], [-1]], [[0], [1]], [[0], [1]]))
    torch.testing.assert_close(padded["concept"], short["concept"])


def test_what_an_image_may_show_is_no_negative_of_it():
    captions = [[0], [1]]
    texts = [[0], [1]]
    literal = model(mask_negatives=False).losses(outputs([[0, 1], [1, 0]], texts, captions))
    masked = model().losses(outputs([[0, 1], [1, 0]], texts, captions))
    half = model().losses(outputs([[0, 1], [1, -1]], texts, captions))
    assert masked["concept"].item() == masked["caption"].item() == 0.0  # no negative is left
    for key in literal:
        assert 0 < half[key] < literal[key]


def test_the_weight_of_captions():
    arguments = outputs([[-1], [-1]], [[0, 1], [2, 3]], [[0], [1]])
    once, half = (model(caption_weight=w).losses(arguments) for w in (1.0, 0.5))
    torch.testing.assert_close(half["caption"], 0.5 * once["caption"])
    torch.testing.assert_close(half["concept"], once["concept"])


def test_temperature_starts_where_it_is_set_and_is_clamped():
    net = model(temperature=0.07)
    assert net.logit_scale.exp().item() == pytest.approx(1 / 0.07)
    right = outputs([[-1], [-1]], [[0, 1], [2, 3]], [[0], [1]])
    # each image fits the other's caption: the loss grows with scale
    arguments = replace(right, captions=TEXTS.flip(0))
    with torch.no_grad():
        net.logit_scale.fill_(math.log(100.0))
        at_limit = net.losses(arguments)["caption"]
        assert at_limit > 10
        net.logit_scale.fill_(math.log(1000.0))
        torch.testing.assert_close(net.losses(arguments)["caption"], at_limit)


def test_statistics_of_the_features_are_kept_with_the_weights():
    net = model(dropout=0.0)
    sample = torch.randn(500, 3) * torch.tensor([1.0, 100.0, 0.01]) + 5
    net.start(Start(sample))
    standard = (sample - net.region_norm.mean) / net.region_norm.scale
    torch.testing.assert_close(standard.mean(0), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(
        standard[:, :2].std(0, correction=0), torch.ones(2), atol=2e-3, rtol=0
    )
    assert {"region_norm.mean", "region_norm.scale"} <= net.state_dict().keys()


def test_an_aligned_model_starts_as_the_alignment_of_the_index():
    rng = np.random.default_rng(0)
    mean, scale, weight = rng.normal(size=3), rng.uniform(1, 2, 3), rng.normal(size=(3, 4))
    space = TextSpace(
        None,  # type: ignore[arg-type] - only its map is asked for
        None,
        Alignment(*(a.astype(np.float32) for a in (mean, scale, weight))),
    )
    config = SegmentMilConfig(hidden=5, width=0, start="aligned", dropout=0.5)
    assert config.reads.space
    net = SegmentMil(config.with_sizes(Sizes(5, 4, head=space.head().config)))
    net.start(Start(torch.randn(50, 5) * 3 + 1, space))
    regions, texts = torch.randn(2, 6, 5), torch.randn(3, 4)
    # the last two numbers of a region are its geometry, which the alignment does not know
    expected = torch.from_numpy(space.project_dense(regions[..., :3].numpy()))
    torch.testing.assert_close(net.eval().embed_regions(regions), expected)
    torch.testing.assert_close(net.embed_texts(texts), F.normalize(texts, dim=1))
    # a dropped feature is at its mean
    with torch.no_grad():
        net.region_norm.dropout.p = 1.0
    torch.testing.assert_close(
        net.train().embed_regions(regions)[1, 2],
        torch.from_numpy(space.project_dense(net.region_norm.mean[:3].numpy())),
    )
    assert all(p.requires_grad for p in net.base.parameters())


def test_the_space_of_an_aligned_model_is_that_of_texts():
    with pytest.raises(ValueError, match=r"width: 2 does not go with start: aligned.*use 0"):
        SegmentMilConfig(width=2, start="aligned").with_sizes(Sizes(5, 4))
    assert SegmentMilConfig(width=4, start="aligned").with_sizes(Sizes(5, 4)).width == 4
    assert not SegmentMilConfig(width=0).with_sizes(Sizes(5, 4)).reads.space


def test_embeddings_have_length_one():
    net = model()
    torch.testing.assert_close(
        net.embed_regions(torch.randn(2, 5, 3)).norm(dim=-1), torch.ones(2, 5)
    )
    torch.testing.assert_close(net.embed_texts(torch.randn(2, 4)).norm(dim=-1), torch.ones(2))


def test_each_pixel_has_the_cosines_of_its_region():
    net = model().eval()
    labels = torch.tensor([[[0, 0, 1], [2, 2, 1], [2, 2, 1]]], dtype=torch.uint8)
    inputs = Inputs(torch.randn(1, 3, 3), torch.ones(1, 3, dtype=torch.bool), labels, (6, 3))
    classes = torch.randn(2, 4)
    logits = net.segment(inputs, classes)[0]
    cosine = net.region_logits(inputs, classes)[0]  # [region, class]
    for y in range(6):
        for x in range(3):
            torch.testing.assert_close(logits[:, y, x], cosine[int(labels[0, y // 2, x])])


def test_regions_without_a_pixel_are_harmless():
    net = model().eval()
    inputs = Inputs(
        torch.randn(1, 5, 3),
        torch.tensor([[True, False, False, False, False]]),
        torch.zeros(1, 4, 4, dtype=torch.uint8),
        (4, 4),
    )
    assert net.segment(inputs, torch.randn(2, 4)).flatten(2).std(2).max() == 0
