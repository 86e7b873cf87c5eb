"""Pixels and tokens through both towers, for each model that has them."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from captionseg.model_inputs import Tokens
from captionseg.modeling.models import MODELS
from captionseg.modeling.segmenter import Sizes
from captionseg.prepared import pixel_inputs
from captionseg.records import UserError
from captionseg.typed import replace_fields
from tests.captionseg.modeling.conftest import CONCEPTS, TEXT

ENCODER = {
    "tokens": "pixels",
    "size": 32,
    "width": 8,
    "heads": 2,
    "depths": [1, 1],
    "group_tokens": [4, 0],
    "groups": [4],
}
TEXTS = {
    "frozen": {"width": TEXT},
    "clip": {"kind": "clip", "width": 8, "depth": 1, "heads": 2, "vocabulary": 60},
    "bert": {"kind": "bert", "width": 8, "depth": 1, "heads": 2, "vocabulary": 60, "dropout": 0.0},
}
MASK = 5


def model(name: str, text: str, encoder: dict | None = None, **changes):
    towers = {
        "encoder": ENCODER | (encoder or {}),
        "text": TEXTS[text],
        "hidden": 10,
        "embedding": 6,
    }
    torch.manual_seed(0)
    config_class, module = MODELS[name]
    return module(
        replace_fields(config_class(), {"towers": towers, **changes}, name).with_sizes(
            Sizes(texts=TEXT, concepts=CONCEPTS)
        )
    )


@pytest.fixture
def pixels(make_batch):
    """images -> a batch of pictures and tokens; the end of a text is the largest token."""

    def make(images: int = 4):
        batch = make_batch(images=images)
        g = torch.Generator().manual_seed(1)

        def tokens(*shape: int) -> torch.Tensor:
            out = torch.randint(6, 59, (*shape, 7), generator=g)
            out[..., 5], out[..., 6] = 59, 0
            return out

        masked = tokens(images)
        masked[:, 2] = MASK
        target = torch.where(masked == MASK, batch.text_concept[:, :1].clamp(min=0), -1)
        return dataclasses.replace(
            batch,
            regions=batch.regions[:, :0],
            region_mask=batch.region_mask[:, :0],
            image=torch.randn(images, 3, 32, 32, generator=g),
            tokens=Tokens(tokens(images), tokens(images, 3)),
            masked=dataclasses.replace(
                batch.masked, target=target, tokens=masked, answers=tokens(images)
            ),
        )

    return make


FORMS = [
    ("groupvit", "frozen", {}),
    ("groupvit", "clip", {}),
    ("groupvit", "bert", {}),
    ("ovsegmentor", "frozen", {}),
    ("ovsegmentor", "frozen", {"masks": "binding"}),
    *(
        ("ovsegmentor", "bert", {"objective": objective})
        for objective in (
            "all_entities",
            "single_entity",
            "all_nouns",
            "multi_label",
            "mlm_groups",
            "mlm",
            "none",
        )
    ),
    ("ovsegmentor", "clip", {"objective": "multi_label"}),
]


@pytest.mark.parametrize(("name", "text", "changes"), FORMS)
def test_every_form_trains_on_pixels(name, text, changes, pixels):
    net = model(name, text, **changes)
    losses = net.losses(net(pixels()))
    assert all(torch.isfinite(value) for value in losses.values())
    sum(losses.values()).backward()
    for key, p in net.named_parameters():
        assert (p.grad is None) == (not p.requires_grad), key
        assert p.grad is None or torch.isfinite(p.grad).all(), key


@pytest.mark.parametrize(("name", "text", "changes"), FORMS)
def test_the_loss_of_four_is_the_mean_over_two_ranks(name, text, changes, pixels, ranks):
    net, batch = model(name, text, **changes), pixels()
    for key, value in net.losses(net(batch)).items():
        together = torch.stack([losses[key] for losses in ranks(2).losses(net, batch)]).mean()
        torch.testing.assert_close(together, value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "encoder", [{}, {"backbone": "test_resnet"}, {"backbone": "test_vit", "frozen": False}]
)
@pytest.mark.parametrize("name", ["groupvit", "ovsegmentor"])
def test_pictures_of_any_size_are_segmented(name, encoder):
    net = model(name, "frozen", encoder).eval()
    inputs = pixel_inputs(torch.randn(2, 3, 64, 96), (50, 70))
    classes = torch.randn(5, TEXT)
    logits = net.segment(inputs, classes)
    assert logits.shape == (2, 5, 50, 70)
    assert torch.equal(net.label(inputs, classes), logits.argmax(1))


def test_a_background_is_the_first_channel_and_minus_one(pixels):
    choices = {"readout": "groups", "score": "product", "top_k": 2, "background": 0.9}
    net = model("groupvit", "clip", zero_shot=choices).eval()
    inputs = pixel_inputs(torch.randn(2, 3, 32, 32), (32, 32))
    classes = net.encode_text(torch.tensor([[7, 8, 59], [9, 10, 59], [11, 12, 59]]))
    logits, labels = net.segment(inputs, classes), net.label(inputs, classes)
    assert logits.shape == (2, 4, 32, 32)
    assert torch.equal(labels, logits.argmax(1) - 1)
    assert set(labels.unique().tolist()) <= {-1, 0, 1, 2}
    assert (labels == -1).any()


@pytest.mark.parametrize("objective", ["single_entity", "all_nouns"])
def test_bert_is_asked_for_the_prompts_of_masked_concepts(objective, pixels):
    """Of the three drawn concepts the first is masked; the sentence of all three is not read."""
    net, batch = model("ovsegmentor", "bert", objective=objective).eval(), pixels()
    completed = net(batch).completed
    assert completed.asked[:, 0].tolist() == batch.text_concept[:, 0].tolist()
    assert (completed.asked[:, 1:] == -1).all()
    prompts = net.towers.text(batch.tokens.concepts[:, 0])
    torch.testing.assert_close(completed.answers, net.towers.embed_texts(prompts))


def test_text_is_frozen_when_the_second_stage_begins(pixels):
    net = model("ovsegmentor", "bert", freeze_text=True, mask_from=2).train()
    first = net.losses(net(pixels()))
    sum(first.values()).backward()
    assert all(p.grad is not None for p in net.towers.text.parameters())
    net.zero_grad()
    sum(net.losses(net(pixels())).values()).backward()
    assert all(p.grad is None for p in net.towers.text.parameters())
    assert all(p.grad is not None for p in net.towers.text_projector.parameters())


def test_a_frozen_model_has_no_text_encoder():
    with pytest.raises(ValueError, match="no text encoder of its own"):
        model("groupvit", "frozen").encode_text(torch.ones(1, 3, dtype=torch.long))


def test_clip_has_no_masked_words():
    with pytest.raises(UserError, match="clip has no token for a masked word"):
        model("ovsegmentor", "clip")


def test_batches_without_masked_words_are_one_line(pixels):
    batch = pixels()
    no_tokens = dataclasses.replace(batch.masked, tokens=None)
    for objective, masked in (("all_entities", no_tokens), ("all_entities", None), ("mlm", None)):
        with pytest.raises(UserError, match="this is a mistake of the loader"):
            model("ovsegmentor", "bert", objective=objective)(
                dataclasses.replace(batch, masked=masked)
            )
