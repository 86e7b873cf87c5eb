"""OVSegmentor's own parts by hand: partners, the momentum encoder, the schedule, each objective."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from captionseg.losses.consistency import mask_consistency_loss
from captionseg.modeling.models import PRESETS
from captionseg.modeling.objectives.cross_image import select_nearest_groups
from captionseg.modeling.ovsegmentor import OVSegmentor
from captionseg.modeling.ovsegmentor_config import OVSegmentorConfig
from captionseg.modeling.segmenter import InputSpec, Sizes
from captionseg.records import UserError
from captionseg.typed import replace_fields
from tests.captionseg.modeling.conftest import CONCEPTS, REGION, TEXT

SMALL = {
    "towers": {
        "encoder": {
            "region_width": REGION,
            "width": 8,
            "heads": 2,
            "dropout": 0.0,
            "group_tokens": [4, 0],
            "groups": [4],
        },
        "text": {"width": TEXT},
        "hidden": 10,
        "embedding": 6,
    },
    "entities": CONCEPTS,
}
BASE = replace_fields(OVSegmentorConfig(), SMALL, "small")


def model(**changes) -> OVSegmentor:
    torch.manual_seed(0)
    return OVSegmentor(replace_fields(BASE, changes, "ovsegmentor"))


@pytest.mark.parametrize(
    ("objective", "names"),
    [
        ("all_entities", {"caption", "entity", "mask"}),
        ("single_entity", {"caption", "entity", "mask"}),
        ("all_nouns", {"caption", "entity", "mask"}),
        ("multi_label", {"caption", "entity", "mask"}),
        ("mlm_groups", {"caption", "entity", "mask"}),
        ("mlm", {"caption", "entity", "mask"}),
        ("none", {"caption", "mask"}),
    ],
)
def test_every_objective_has_its_losses(objective, names, make_batch):
    net = model(objective=objective)
    losses = net.losses(net(make_batch()))
    assert set(losses) == names
    sum(losses.values()).backward()
    for name, p in net.named_parameters():
        assert (p.grad is None) == name.startswith("momentum"), name


def test_the_baseline_is_the_caption_alone(make_batch):
    net = model(objective="none", mask_weight=0.0)
    assert set(net.losses(net(make_batch()))) == {"caption"}
    assert not any(name.startswith(("momentum", "completion")) for name in net.state_dict())


def test_completion_is_info_nce_of_answers_by_hand(make_batch):
    net, batch = model(mask_negatives=False).eval(), make_batch(images=4)
    out = net(batch)
    question = out.completed.vectors[:, 0]
    answer = F.normalize(net.towers.embed_texts(batch.text_embedding).sum(1), dim=-1)
    torch.testing.assert_close(out.completed.captions, answer)
    logits = net.caption_scale.exp() * question @ answer.T
    expected = 0.5 * (
        F.cross_entropy(logits, torch.arange(4)) + F.cross_entropy(logits.T, torch.arange(4))
    )
    torch.testing.assert_close(net.losses(out)["entity"], expected)


def test_mask_consistency_is_the_mean_over_pictures_with_a_partner(make_batch):
    net, batch = model(mask_weight=1.0, ratio=0.5, threshold=0.5).eval(), make_batch(images=3)
    concept = batch.text_concept.clone()
    concept[:, 0] = torch.tensor([1, 4, 1])
    batch = dataclasses.replace(batch, text_concept=concept)
    out = net(batch)
    cross, total = out.cross, 0.0
    for image, partner in ((0, 2), (2, 0)):
        own, other = (
            select_nearest_groups(cross.target_groups[[i]], cross.entity[[image]], 2)
            for i in (image, partner)
        )
        target = torch.sigmoid(10 * own @ cross.target_tokens[[image]].transpose(1, 2))
        predicted = torch.sigmoid(10 * other @ cross.tokens[[image]].transpose(1, 2))
        total = (
            total
            + mask_consistency_loss(target, predicted, cross.mask[[image]], threshold=0.5).sum()
        )
    torch.testing.assert_close(net.losses(out)["mask"], 0.5 * total / 2)


def test_the_momentum_encoder_follows_and_has_no_gradient(make_batch):
    net = model(momentum=0.9).train()
    before = [p.clone() for p in net.momentum_vision.parameters()]
    with torch.no_grad():
        for p in net.towers.vision.parameters():
            p.add_(1.0)
    net(make_batch())
    for old, slow, fast in zip(
        before, net.momentum_vision.parameters(), net.towers.vision.parameters(), strict=True
    ):
        torch.testing.assert_close(slow, 0.9 * old + 0.1 * fast)
        assert not slow.requires_grad
    net.eval()
    kept = [p.clone() for p in net.momentum_vision.parameters()]
    net(make_batch())
    assert all(
        torch.equal(a, b) for a, b in zip(kept, net.momentum_vision.parameters(), strict=True)
    )


def test_masks_count_from_the_step_that_is_set(make_batch):
    net, batch = model(mask_from=2, mask_weight=1.0).train(), make_batch()
    # all have partners
    batch = dataclasses.replace(batch, text_concept=torch.zeros_like(batch.text_concept))
    losses = [net.losses(net(batch))["mask"].item() for _ in range(3)]
    assert losses[0] == 0.0
    assert min(losses[1:]) > 0.0
    assert net.state_dict()["steps"] == 3  # so that a resumed fit goes on with its schedule


def test_a_batch_of_one_is_finite(make_batch):
    net = model()
    losses = net.losses(net(make_batch(images=1)))
    assert all(torch.isfinite(value) for value in losses.values())
    assert losses["mask"] == 0.0


def test_a_batch_without_masked_captions_is_one_line(make_batch):
    with pytest.raises(UserError, match="no masked captions"):
        model()(dataclasses.replace(make_batch(), masked=None))


@pytest.mark.parametrize("change", [{"ratio": 0.0}, {"ratio": 1.5}, {"momentum": 1.0}])
def test_what_does_not_fit(change):
    with pytest.raises(UserError, match=next(iter(change))):
        model(**change)


@pytest.mark.parametrize(
    ("preset", "heads", "tokens"), [("ovsegmentor_base", 12, 8), ("ovsegmentor_released", 8, 64)]
)
def test_the_published_sizes(preset, heads, tokens):
    config = PRESETS[preset]().with_sizes(Sizes(concepts=50))
    with torch.device("meta"):
        net = OVSegmentor(config)
    vision = net.towers.vision
    blocks = [b for stage in vision.stages for b in stage.blocks]
    vit = sum(
        p.numel() for part in (vision.tokens, vision.norm, *blocks) for p in part.parameters()
    )
    # DINO's ViT-B/16, less its class token and that token's position
    assert vit == 85_798_656 - 2 * 768
    assert len(vision.stages[0].blocks) == len(vision.stages[1].blocks) == 6
    assert vision.stages[0].blocks[0].attn.heads == heads
    assert vision.stages[0].group_token.shape == (1, tokens, 768)
    assert config.reads == InputSpec(224, tokens="bert", masking="all")


def test_dice_summed_over_pictures_as_released(make_batch):
    batch = make_batch(images=4)
    # all have partners
    batch = dataclasses.replace(batch, text_concept=torch.zeros_like(batch.text_concept))
    mean, total = (model(mask_weight=1.0, mask_reduction=r).eval() for r in ("mean", "sum"))
    torch.testing.assert_close(
        total.losses(total(batch))["mask"], 4 * mean.losses(mean(batch))["mask"]
    )
