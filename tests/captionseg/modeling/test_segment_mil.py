"""segment_mil on numbers small enough to follow by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from captionseg.losses.contrastive import contrastive_loss
from captionseg.model_inputs import Inputs
from captionseg.modeling.objectives.bags import Bags
from captionseg.modeling.segment_mil import SegmentMil, SegmentMilConfig
from captionseg.modeling.segmenter import Start


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
