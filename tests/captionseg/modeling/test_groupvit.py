"""GroupViT's own parts: stages, losses, readouts. Parity with transformers is in
test_groupvit_checkpoint.
"""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from captionseg.model_inputs import Inputs, Tokens
from captionseg.modeling.groupvit import GroupViT, GroupViTConfig
from captionseg.modeling.readout.group_readout import score_groups
from captionseg.records import UserError
from captionseg.typed import replace_fields
from tests.captionseg.modeling.conftest import REGION, TEXT

SMALL = {
    "towers": {
        "encoder": {"region_width": REGION, "width": 8, "heads": 2, "dropout": 0.0},
        "text": {"width": TEXT},
        "hidden": 10,
        "embedding": 6,
    }
}
BASE = replace_fields(GroupViTConfig(), SMALL, "small")


def model(**changes) -> GroupViT:
    torch.manual_seed(0)
    return GroupViT(replace_fields(BASE, changes, "groupvit"))


PUBLISHED = {"binding": "groupvit", "assign": "gumbel", "assign_eps": 1.0}
LITERAL = {
    "pool": "mean",
    "zero_shot": {"readout": "groups"},
    "towers": {"encoder": {"depths": [1, 1], "group_tokens": [4, 0], "groups": [4], **PUBLISHED}},
}
TWO_STAGES = LITERAL | {
    "towers": {
        "encoder": {"depths": [1, 1, 1], "group_tokens": [4, 2, 0], "groups": [4, 2], **PUBLISHED}
    }
}
FORMS = {"default": {}, "literal": LITERAL, "two": TWO_STAGES, "segments": {"segment_weight": 0.5}}


@pytest.mark.parametrize("form", FORMS)
def test_losses_of_every_form_reach_every_parameter(form, make_batch):
    net = model(**FORMS[form])
    losses = net.losses(net(make_batch()))
    sum(losses.values()).backward()
    for name, p in net.named_parameters():
        assert p.grad is not None, name
        assert torch.isfinite(p.grad).all(), name
    assert set(losses) == {"caption", "concept"} | (
        {"segment_caption", "segment_concept"} if form == "segments" else set()
    )


@pytest.mark.parametrize("form", FORMS)
def test_regions_that_pad_change_nothing(form, make_batch, make_inputs):
    net = model(**FORMS[form]).eval()
    inputs = make_inputs(images=2, regions=4)
    wide = torch.cat([inputs.regions, torch.randn(2, 3, REGION)], 1)
    mask = torch.arange(7).expand(2, -1) < 4
    padded = Inputs(wide, mask, inputs.labels, inputs.size)
    classes = torch.randn(5, TEXT)
    torch.testing.assert_close(net.segment(padded, classes), net.segment(inputs, classes))


def test_pooling_by_mean_is_one_vector_an_image_and_by_max_one_a_group(make_batch):
    batch = make_batch(images=3)
    assert model(**LITERAL)(batch).groups.vectors.shape == (3, 1, 6)
    assert model()(batch).groups.vectors.shape == (3, 8, 6)


def test_both_temperatures_are_learnt_apart_and_clamped(make_batch):
    net = model().eval()
    out = net(make_batch())
    before = net.losses(out)
    with torch.no_grad():
        net.concept_scale.fill_(0.0)
    after = net.losses(out)
    assert after["caption"] == before["caption"]
    assert after["concept"] != before["concept"]
    with torch.no_grad():
        net.caption_scale.fill_(math.log(100.0))
        limit = net.losses(out)["caption"]
        net.caption_scale.fill_(9.0)
    torch.testing.assert_close(net.losses(out)["caption"], limit)


def test_readouts(make_inputs):
    inputs, classes = make_inputs(images=2), torch.randn(5, TEXT)
    groups, regions, both = (
        model(zero_shot={"readout": r, "score": "softmax"}).eval().segment(inputs, classes)
        for r in ("groups", "regions", "both")
    )
    torch.testing.assert_close(both, groups + regions)
    torch.testing.assert_close(groups.sum(1), torch.ones(2, 9, 13))  # a softmax over classes


def test_the_noise_of_assignments_is_for_training_alone(make_batch):
    net, batch = model(**LITERAL), make_batch()
    first, second = (net.eval()(batch).groups.vectors for _ in range(2))
    torch.testing.assert_close(first, second)
    net.train()
    assert not torch.allclose(net(batch).groups.vectors, net(batch).groups.vectors)


def test_a_picture_without_regions_is_finite(make_batch):
    batch = make_batch(images=2)
    nothing = dataclasses.replace(batch, region_mask=torch.zeros_like(batch.region_mask))
    out = model().eval()(nothing)
    assert torch.isfinite(out.groups.vectors).all()


PIXELS = LITERAL | {
    "mask_negatives": False,
    "towers": {
        "encoder": {**LITERAL["towers"]["encoder"], "tokens": "pixels", "size": 32},
        "text": {"kind": "clip", "width": 8, "depth": 1, "heads": 2},
        "norm": "batch",
    },
}


def test_pixels_and_tokens_of_texts(make_batch):
    net, batch = model(**PIXELS), make_batch(images=4)
    tokens = torch.randint(1, 49_000, (4, 4, 77))
    tokens[:, :, 9] = 49_407
    batch = dataclasses.replace(
        batch, image=torch.randn(4, 3, 32, 32), tokens=Tokens(tokens[:, 0], tokens[:, 1:])
    )
    losses = net.losses(net(batch))
    sum(losses.values()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    inputs = Inputs(
        torch.zeros(1, 0, REGION),
        torch.zeros(1, 0, dtype=torch.bool),
        torch.zeros(1, 2, 2, dtype=torch.uint8),
        (40, 50),
        torch.randn(1, 3, 48, 32),
    )
    classes = net.eval().encode_text(tokens[0])
    assert net.segment(inputs, classes).shape == (1, 4, 40, 50)
    assert torch.equal(net.label(inputs, classes), net.segment(inputs, classes).argmax(1))


def test_an_equal_concept_with_two_prompts_is_two_texts(make_batch):
    """Templates are drawn anew, so a concept that two images share may have two vectors."""
    net, batch = model(**PIXELS), make_batch(images=4)
    batch = dataclasses.replace(batch, text_concept=torch.zeros_like(batch.text_concept))
    tokens = torch.randint(1, 49_000, (4, 4, 77))
    tokens[:, :, 9] = 49_407
    image = torch.randn(4, 3, 32, 32)
    batch = dataclasses.replace(batch, image=image, tokens=Tokens(tokens[:, 0], tokens[:, 1:]))
    loss = net.losses(net(batch))["concept"]
    loss.backward()
    assert (
        net.towers.text.token.weight.grad[tokens[:, 1:, :9].unique()].abs().sum(1) > 0
    ).all()  # of every text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"towers": {"encoder": {"depths": [1, 1]}}}, "2 depths need as many group_tokens"),
        ({"towers": {"encoder": {"group_tokens": [0]}}}, "the first stage must group"),
        ({"towers": {"encoder": {"width": 9}}}, "width 9 is no multiple of 2 heads"),
        (
            {"towers": {"encoder": {"backbone": "resnet18"}}},
            "backbone and weights need tokens: pixels",
        ),
        (
            {"towers": {"encoder": {"tokens": "pixels", "size": 8}}},
            "size 8 is less than a patch of 16",
        ),
        ({"towers": {"text": {"kind": "clip", "width": 9}}}, "width 9 is no multiple of 4 heads"),
        (
            {"towers": {"text": {"kind": "clip", "width": 8, "weights": "x"}}},
            "weights need kind: bert",
        ),
        (
            {"towers": {"encoder": {"tokens": "pixels"}}, "segment_weight": 0.5},
            "segment_weight needs tokens: regions",
        ),
    ],
)
def test_what_does_not_fit_together(change, message):
    with pytest.raises(UserError, match=message):
        replace_fields(BASE, change, "groupvit")


def test_a_caption_takes_the_place_of_what_could_not_be_drawn(make_batch):
    """As released: three prompts of each image, captions among them, all of other images against.

    Image 0 has one concept, image 1 three, image 2 none.
    """
    net = model(pool="mean", mask_negatives=False, caption_pads=True).eval()
    batch = make_batch(images=3, drawn=[1, 3, 0])
    out = net(batch)
    bags, scale = out.groups, net.concept_scale.exp()
    texts = bags.texts.clone()
    texts[0, 1:], texts[2] = bags.captions[0], bags.captions[2]
    logits = scale * bags.vectors[:, 0] @ texts.flatten(0, 1).T
    own = torch.eye(3, dtype=torch.bool).repeat_interleave(3, 1)
    to_texts = (logits.logsumexp(1) - logits.masked_fill(~own, -math.inf).logsumexp(1)).mean()
    to_images = torch.nn.functional.cross_entropy(logits.T, torch.arange(3).repeat_interleave(3))
    losses = net.losses(out)
    torch.testing.assert_close(losses["concept"], 0.5 * (to_texts + to_images))
    empty = model(pool="mean", mask_negatives=False).eval()
    assert empty.losses(empty(batch))["caption"] == losses["caption"]
    assert empty.losses(empty(batch))["concept"] != losses["concept"]


def test_captions_that_pad_are_those_of_all_ranks(make_batch, ranks):
    net = model(mask_negatives=False, caption_pads=True).eval()
    batch = make_batch(images=4, drawn=[1, 3, 0, 2])
    whole = net.losses(net(batch))["concept"]
    parts = torch.stack([losses["concept"] for losses in ranks(2).losses(net, batch)])
    torch.testing.assert_close(parts.mean(), whole)


def test_hard_maps_are_products_of_hard_assignments():
    """Cell 0 is .6 of group 0 and .4 of group 1, which are .55 and 0 of the second stage's group 0:
    .33 of it softly, but wholly by its largest groups.
    """
    first = torch.tensor([[[0.6, 0.1], [0.4, 0.9]]])
    second = torch.tensor([[[0.55, 0.0], [0.45, 1.0]]])
    net = model(zero_shot={"readout": "groups"}).eval()
    inputs = Inputs(
        torch.zeros(1, 2, REGION),
        torch.ones(1, 2, dtype=torch.bool),
        torch.tensor([[[0, 1]]], dtype=torch.uint8),
        (1, 2),
    )
    encoded = net.towers.vision(None, inputs.regions, inputs.region_mask)
    encoded = encoded._replace(maps=[first, second], grid=(1, 2))
    seen = []
    for maps in ("soft", "hard"):
        choices = dataclasses.replace(net.zero_shot, maps=maps)
        scores = score_groups(
            net.towers.vision,
            encoded,
            net.towers.embed,
            torch.eye(6),
            torch.tensor(1.0),
            choices,
            mask=inputs.region_mask,
        )
        seen.append(scores.assignment[0, :, 0].T.tolist())
    assert seen[0] == [
        [pytest.approx(0.33), pytest.approx(0.67)],
        [pytest.approx(0.055), pytest.approx(0.945)],
    ]
    assert seen[1] == [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize("readout", ["groups", "both"])
def test_a_background_of_cosines_leaves_the_best_as_foreground(readout, make_inputs):
    """All cosines negative, which were all background once."""
    net, inputs = model(zero_shot={"readout": readout}).eval(), make_inputs(images=2)
    with torch.no_grad():
        net.towers.image_projector.fc2.weight.mul_(0.3)
        net.towers.image_projector.fc2.bias.copy_(torch.tensor([1.0, 0, 0, 0, 0, 0]))
        net.towers.text_projector.fc2.weight.mul_(0.1)
        net.towers.text_projector.fc2.bias.copy_(torch.tensor([-1.0, 0.5, 0, 0, 0, 0]))
    classes = torch.randn(5, TEXT)
    plain = net.segment(inputs, classes)
    assert (plain < 0.0).all()
    for threshold, some in ((-2.0, False), (2.0, True)):
        choices = dataclasses.replace(net.zero_shot, background=threshold)
        logits, labels = (f(inputs, classes, choices) for f in (net.segment, net.label))
        assert torch.equal(labels, logits.argmax(1) - 1)
        assert (labels == -1).any().item() is some
        assert (labels >= 0).any()
        assert torch.equal(labels.clamp(min=0)[labels >= 0], plain.argmax(1)[labels >= 0])


def test_captions_that_pad_need_plain_negatives():
    with pytest.raises(UserError, match="caption_pads needs mask_negatives: false"):
        model(caption_pads=True)
