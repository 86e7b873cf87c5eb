"""OVSegmentor's own parts by hand: partners, the momentum encoder, the schedule, each objective."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from captionseg.losses.consistency import group_consistency_loss, mask_consistency_loss
from captionseg.modeling.models import PRESETS
from captionseg.modeling.objectives.cross_image import select_nearest_groups
from captionseg.modeling.ovsegmentor import OVSegmentor
from captionseg.modeling.ovsegmentor_config import OVSegmentorConfig
from captionseg.modeling.segmenter import InputSpec, Sizes, Start
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
    question = out.completed.questions
    answer = F.normalize(net.towers.embed_texts(batch.text_embedding).sum(1), dim=-1)
    torch.testing.assert_close(out.completed.answers, answer)
    logits = net.caption_scale.exp() * question @ answer.T
    expected = 0.5 * (
        F.cross_entropy(logits, torch.arange(4)) + F.cross_entropy(logits.T, torch.arange(4))
    )
    torch.testing.assert_close(net.losses(out)["entity"], expected)


@pytest.mark.parametrize("objective", ["single_entity", "all_nouns"])
def test_masked_words_are_asked_for_and_visible_ones_are_not(objective, make_batch):
    """Of the three drawn concepts the second is masked in the first caption, another word and none
    in the others: they take no part.
    """
    net, batch = model(objective=objective, mask_negatives=False).eval(), make_batch(images=4)
    drawn = batch.text_concept
    other = next(c for c in range(CONCEPTS) if c not in drawn[1])
    target = torch.tensor([[drawn[0, 1], -1], [other, -1], [-1, -1], [drawn[3, 2], drawn[3, 0]]])
    masked = dataclasses.replace(batch.masked, target=target)
    out = net(dataclasses.replace(batch, masked=masked))
    assert out.completed.asked.tolist() == [
        [-1, drawn[0, 1], -1],
        [-1, -1, -1],
        [-1, -1, -1],
        [drawn[3, 0], -1, drawn[3, 2]],
    ]
    words = net.towers.embed_texts(batch.text_embedding)
    answer = torch.stack([words[0, 1], F.normalize(words[3, 0] + words[3, 2], dim=-1)])
    logits = net.caption_scale.exp() * out.completed.questions[[0, 3]] @ answer.T
    expected = 0.5 * (
        F.cross_entropy(logits, torch.arange(2)) + F.cross_entropy(logits.T, torch.arange(2))
    )
    torch.testing.assert_close(net.losses(out)["entity"], expected)


@pytest.mark.parametrize("objective", ["single_entity", "all_nouns"])
def test_all_masked_words_are_asked_for_whose_embeddings_are_known(objective, make_batch):
    """Drawn or not, and each once."""
    net, batch = model(objective=objective, mask_negatives=False).eval(), make_batch(images=2)
    table = torch.randn(CONCEPTS, TEXT)
    net.start(Start(torch.randn(9, REGION), concepts=table))
    masked = dataclasses.replace(batch.masked, target=torch.tensor([[7, 2, 7], [5, -1, -1]]))
    completed = net(dataclasses.replace(batch, masked=masked)).completed
    assert completed.asked.tolist() == [[7, 2, -1], [5, -1, -1]]
    words = net.towers.embed_texts(table)
    expected = torch.stack([F.normalize(words[7] + words[2], dim=-1), words[5]])
    torch.testing.assert_close(completed.answers, expected)
    assert "completion.concepts" not in net.state_dict()


def test_captions_of_which_nothing_is_asked_are_no_loss(make_batch):
    net, batch = model(objective="single_entity"), make_batch(images=3)
    target = torch.full_like(batch.masked.target, -1)
    masked = dataclasses.replace(batch.masked, target=target)
    assert net.losses(net(dataclasses.replace(batch, masked=masked)))["entity"] == 0.0


def test_mask_consistency_is_the_mean_over_pictures_with_a_partner(make_batch):
    net, batch = model(mask_weight=1.0, ratio=0.5, threshold=0.5).eval(), make_batch(images=3)
    concept = batch.text_concept.clone()
    concept[:, 0] = torch.tensor([1, 4, 1])
    batch = dataclasses.replace(batch, text_concept=concept)
    out = net(batch)
    cross, total = out.cross, 0.0
    for image, partner in ((0, 2), (2, 0)):
        own, other = (
            select_nearest_groups(groups[[i]], cross.entity[[image]], 2)
            for i, groups in ((image, cross.target_groups), (partner, cross.groups))
        )
        target = torch.sigmoid(10 * own @ cross.target_tokens[[image]].transpose(1, 2))
        predicted = torch.sigmoid(10 * other @ cross.tokens[[image]].transpose(1, 2))
        total = (
            total
            + mask_consistency_loss(target, predicted, cross.mask[[image]], threshold=0.5).sum()
        )
    torch.testing.assert_close(net.losses(out)["mask"], total / 2)


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


DEEP = {"encoder": {"depths": [1, 1]}}


@pytest.mark.parametrize("masks", ["joint", "binding"])
def test_what_masks_teach(masks, make_batch):
    """By Eq. 10 the binding and all blocks, for the groups are the online encoder's; as released
    the queries alone.
    """
    net, batch = model(mask_weight=1.0, masks=masks, towers=DEEP), make_batch()
    with torch.no_grad():  # masks that are no longer almost even
        for p in net.parameters():
            p.add_(0.3 * torch.randn_like(p))
    batch = dataclasses.replace(batch, text_concept=torch.zeros_like(batch.text_concept))
    net.losses(net(batch))["mask"].backward()
    taught = {
        name.removeprefix("towers.vision.stages.")
        for name, p in net.named_parameters()
        if p.grad is not None and p.grad.abs().sum() > 1e-9
    }
    assign = {f"0.grouping.assign.{part}_proj.weight" for part in "qkv"}
    assert "0.blocks.0.mlp.fc1.weight" in taught
    assert "0.grouping.assign.q_proj.weight" in taught
    assert (assign <= taught) == (masks == "joint")
    assert ("1.blocks.0.mlp.fc1.weight" in taught) == (masks == "joint")
    assert ("towers.image_projector.fc1.weight" in taught) == (masks == "joint")


BATCH_NORM = {"norm": "batch", "encoder": {"depths": [1, 1]}}


@pytest.mark.parametrize("masks", ["joint", "binding"])
def test_statistics_are_those_of_what_is_compared_with_captions(masks, make_batch):
    net = model(pool="mean", masks=masks, towers=BATCH_NORM).train()
    norm, batch = net.towers.image_projector.norm, make_batch()
    seen = []
    net.towers.image_projector.fc1.register_forward_hook(lambda *call: seen.append(call[-1]))
    out = net(batch)
    assert out.cross is not None
    assert len(seen) > 1
    pooled = next(x for x in seen if len(x) == len(batch.regions))
    torch.testing.assert_close(norm.running_mean, 0.1 * pooled.mean(0))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * pooled.var(0))
    assert norm.num_batches_tracked == 1
    sum(net.losses(out).values()).backward()


def test_nothing_is_paid_for_masks_that_have_no_weight_yet(make_batch):
    net, batch = model(mask_from=2, towers=BATCH_NORM).train(), make_batch()
    calls = []
    net.momentum_vision.register_forward_hook(lambda *_: calls.append("momentum"))
    net.towers.vision.register_forward_hook(lambda *_: calls.append("online"))
    assert net(batch).cross is None
    assert net.losses(net(batch))["mask"] > 0.0
    assert calls == ["online", "online", "momentum"]


def test_the_momentum_projector_has_the_statistics_of_the_online_one(make_batch):
    net, batch = model(towers=BATCH_NORM).train(), make_batch()
    for _ in range(2):
        before = {k: v.clone() for k, v in net.towers.image_projector.named_buffers()}
        net(batch)
    slow = dict(net.momentum_projector.named_buffers())
    assert before["norm.num_batches_tracked"] == 1
    assert all(torch.equal(slow[name], value) for name, value in before.items())


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


def test_the_released_weight_is_that_of_a_sum_over_a_gpu_and_its_groups():
    config = PRESETS["ovsegmentor_released"]()
    dice = torch.rand(128)
    torch.testing.assert_close(config.mask_weight * dice.mean(), 0.1 * dice.sum() / 8)
    form = config.masks, config.mask_reduction, config.relative, config.threshold, config.ratio
    assert form == ("binding", "mean", True, 0.6, 0.5)


def test_dice_summed_over_pictures_as_released(make_batch):
    batch = make_batch(images=4)
    # all have partners
    batch = dataclasses.replace(batch, text_concept=torch.zeros_like(batch.text_concept))
    mean, total = (model(mask_weight=1.0, mask_reduction=r).eval() for r in ("mean", "sum"))
    torch.testing.assert_close(
        total.losses(total(batch))["mask"], 4 * mean.losses(mean(batch))["mask"]
    )


def test_groups_may_agree_in_place_of_masks(make_batch):
    net, batch = model(agreement="groups", mask_weight=1.0).eval(), make_batch(images=3)
    concept = batch.text_concept.clone()
    concept[:, 0] = torch.tensor([1, 4, 1])
    batch = dataclasses.replace(batch, text_concept=concept)
    out, total = net(batch), 0.0
    cross = out.cross
    for image, partner in ((0, 2), (2, 0)):
        entity = cross.entity[[image]]
        total = (
            total
            + group_consistency_loss(
                select_nearest_groups(cross.groups[[image]], entity, 2),
                select_nearest_groups(cross.target_groups[[partner]], entity, 2),
                cross.target_groups,
                torch.tensor([image]),
                temperature=0.07,
            ).sum()
        )
    loss = net.losses(out)["mask"]
    torch.testing.assert_close(loss, total / 2)
    loss.backward()
    binding = net.towers.vision.stages[0].grouping.parameters()
    assert any(weight.grad is not None and weight.grad.any() for weight in binding)
