"""CoDe: its terms, its switches, and concepts that no caption names."""

from __future__ import annotations

import dataclasses
from unittest.mock import Mock

import pytest
import torch
from torch.nn import functional as F

from captionseg.encoders.dense_head import HeadConfig
from captionseg.encoders.encoder import Encoder
from captionseg.encoders.text_space import TextSpace
from captionseg.modeling.code_config import CodeConfig
from captionseg.modeling.code_decomposition import Code
from captionseg.modeling.segmenter import Sizes, Start
from captionseg.modeling.tcl_config import TclConfig
from captionseg.typed import replace_fields
from tests.captionseg.modeling.conftest import CONCEPTS, DENSE, TEXT, tiny_tower


def fresh(**changes) -> Code:
    given = {
        "tcl": {"noise": 0.0, "bias": 0.0, "grounder": {"dropout": 0.0}},
        "words": {"heads": 2},
    }
    config = replace_fields(replace_fields(CodeConfig(), given, "code"), changes, "code")
    torch.manual_seed(0)
    net = Code(
        config.with_sizes(
            Sizes(texts=TEXT, concepts=CONCEPTS, words=TEXT, head=HeadConfig(DENSE, TEXT))
        )
    )
    net.attach(Mock(spec=Encoder, text_tower=tiny_tower()))
    return net


def test_the_terms_of_eq_3_8(make_batch):
    net = fresh()
    losses = net.losses(net(make_batch()))
    assert set(losses) == {
        "region_image",
        "region_feature",
        "region_area",
        "region_empty",
        "region_smooth",
        "knowledge",
        "word",
        "highlight",
    }


@pytest.mark.parametrize(
    ("weight", "names"),
    [
        ("knowledge_weight", ["knowledge"]),
        ("word_weight", ["word"]),
        ("highlight_weight", ["highlight"]),
        (
            "region_weight",
            ["region_image", "region_feature", "region_area", "region_empty", "region_smooth"],
        ),
    ],
)
def test_each_weight_is_of_its_term_alone(make_batch, weight, names):
    batch, once = make_batch(), fresh()
    twice = fresh(**{weight: 2.0 * getattr(CodeConfig(), weight)})
    twice.load_state_dict(once.state_dict())
    first, second = once.losses(once(batch)), twice.losses(twice(batch))
    for name, value in first.items():
        torch.testing.assert_close(second[name], (2.0 if name in names else 1.0) * value)


def test_knowledge_by_hand(make_batch):
    """Eq. 3.1: the mean over nouns of the squared distance to the prompted noun."""
    net, batch, tower = fresh(), make_batch(drawn=[3, 1, 0, 2, 3, 3, 3, 3]), tiny_tower()
    concepts = batch.text_concept[:, :2]
    distances = []
    for c in concepts[concepts >= 0].tolist():
        noun = net.encode_text(tower.tokens([f"w{c}"]))[0]
        distances.append(
            (noun - F.normalize(tower(tower.tokens([f"a photo of a w{c}"]))[0], dim=0))
            .square()
            .sum()
        )
    torch.testing.assert_close(
        net.losses(net(batch))["knowledge"], 8.0 * torch.stack(distances).mean()
    )


def test_the_context_starts_where_knowledge_is_zero(make_batch):
    net = fresh()
    space = Mock(
        spec=TextSpace,
        encoder=Mock(spec=Encoder, text_tower=tiny_tower()),
        build_picture_encoder=lambda: None,
        head=lambda: net.tcl.frozen,
    )
    net.start(Start(torch.zeros(1, 1), space))
    assert net.losses(net(make_batch()))["knowledge"].item() == pytest.approx(0.0, abs=1e-9)


def test_of_the_drawn_concepts_j_are_taken(make_batch):
    batch = make_batch(texts=3)
    assert fresh(nouns=2)(batch).knowledge.shape == (8, 2)
    assert fresh(nouns=5)(batch).knowledge.shape == (8, 3)


def test_a_concept_without_a_word_in_the_caption_has_its_prompt_for_a_sentence(make_batch):
    # captions name the first two of three concepts
    batch, net = (make_batch(images=2), fresh(nouns=3))
    tokens = dataclasses.replace(batch.tokens, captions=batch.tokens.captions.flip(0))
    other = dataclasses.replace(batch, tokens=tokens)
    first, second = net(batch).highlighted, net(other).highlighted
    assert torch.equal(first[:, 2], second[:, 2])
    assert not torch.isclose(first[:, :2], second[:, :2]).all(-1).any()


def test_pseudo_labels_of_ones_own_lower_the_entropy_alone(make_batch):
    """With labels of its own a word's loss is -log of its largest probability, over words and not
    marks.
    """
    net, batch = fresh(nouns=1, word_weight=1.0), make_batch(images=3)
    outputs = net(batch)
    tower, concepts = tiny_tower(), batch.text_concept[:, :1]
    captions = batch.tokens.captions[:, None]
    nouns = outputs.regions.texts.vectors
    found = net.words.probabilities(net.words.features(captions, tower), nouns, concepts >= 0)
    real = ~tower.special(captions)
    expected = -found.amax(2).log()[real].mean()
    torch.testing.assert_close(net.losses(outputs)["word"], expected)


def test_labels_by_strings_name_the_word_of_the_noun(make_batch):
    net, batch = fresh(nouns=1, words={"labels": "string"}), make_batch(images=3)
    assert net.config.reads.words
    assert not fresh().config.reads.words
    outputs, tower = net(batch), tiny_tower()
    found = net.words.probabilities(
        net.words.features(batch.tokens.captions[:, None], tower),
        outputs.regions.texts.vectors,
        batch.text_concept[:, :1] >= 0,
    )
    terms, weights = [], []
    for image in range(3):
        for place, concept in enumerate(batch.tokens.caption_words[image].tolist()):
            if concept >= 0:
                own = concept == int(batch.text_concept[image, 0])
                terms.append((1.0 if own else 0.5) * -found[image, 0, 1 if own else 0, place].log())
                weights.append(1.0 if own else 0.5)
    assert len(terms) == 6
    torch.testing.assert_close(net.losses(outputs)["word"], torch.stack(terms).sum() / sum(weights))


def test_the_switches_of_table_4_2(make_batch):
    batch = make_batch()
    without = fresh(decompose=False)
    assert not {"word", "highlight"} & set(without.losses(without(batch)))
    assert not fresh(words={"prompt": False}).words.prompt.requires_grad
    assert fresh(tcl={"prompt": False}).tcl.highlighted.prompt is None


def test_gradients_do_not_reach_the_frozen_tower(make_batch):
    net = fresh()
    sum(net.losses(net(make_batch())).values()).backward()
    assert not any(name.startswith("tower") for name in net.state_dict())
    assert all(p.grad is None for p in net.frozen(torch.zeros(1)).parameters())


def test_what_does_not_go_together_is_refused():
    with pytest.raises(ValueError, match="texts: concepts and text_adapter: false"):
        CodeConfig(tcl=TclConfig(texts="concepts", text_adapter=True))
    with pytest.raises(ValueError, match="nouns must be at least 1"):
        CodeConfig(nouns=0)
