"""The text side of CoDe by hand."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from captionseg.modeling.towers.word_segments import (
    WordConfig,
    WordSegments,
    match_word_targets,
    select_own_masks,
    word_loss,
)
from tests.captionseg.modeling.conftest import TEXT, named


def words(**changes) -> WordSegments:
    torch.manual_seed(0)
    return WordSegments(WordConfig(**({"width": TEXT, "out": TEXT, "heads": 2} | changes))).eval()


def test_word_masks_by_hand():
    """Eq. 3.2-3.3 with one word and two nouns: the 1 of the denominator is the noun `none`."""
    net = words(width=2, out=2, scale=2.0, bias=0.5)
    features = torch.tensor([[[[1.0, 0.0]], [[1.0, 0.0]]]])  # [1, 2, 1, 2]
    nouns = torch.tensor([[[1.0, 0.0], [0.6, 0.8]]])
    found = net.probabilities(features, nouns, torch.tensor([[True, True]]))
    first, second = torch.tensor([2.5, 1.7]).exp()
    total = 1.0 + first + second
    expected = torch.stack([1.0 / total, first / total, second / total])
    torch.testing.assert_close(found[0, 0, :, 0], expected)
    torch.testing.assert_close(select_own_masks(found)[0, :, 0], expected[1:])
    alone = net.probabilities(features, nouns, torch.tensor([[True, False]]))
    torch.testing.assert_close(
        alone[0, 0, :, 0], torch.stack([1.0 / (1.0 + first), first / (1.0 + first), 0 * first])
    )


def test_masks_sum_to_at_most_one_over_nouns(tower):
    torch.manual_seed(1)
    net = words(scale=30.0)
    sentences = named(["a w0 with w1", "w2 of w3 with w4", "a photo of a w5", ""], tower).view(
        2, 2, -1
    )
    nouns = F.normalize(torch.randn(2, 2, TEXT), dim=-1)
    found = net.probabilities(
        net.features(sentences, tower), nouns, torch.tensor([[True, True], [True, False]])
    )
    torch.testing.assert_close(found.sum(2), torch.ones_like(found[:, :, 0]))
    masks = found[:, :, 1:].sum(2)
    assert masks.min() > 0
    assert masks.max() <= 1.0 + 1e-6
    assert (found[:, :, 0] > 0).all()


def test_a_word_of_the_sentence_does_not_know_the_batch_nor_its_padding(tower):
    net = words()
    long = net.features(named(["a w0 with w1", "w2"], tower).view(1, 2, -1), tower)
    short = net.features(tower.tokens(["w2"]).view(1, 1, -1), tower)
    torch.testing.assert_close(long[0, 1, :3], short[0, 0])


def test_targets_by_string_matching():
    belongs = torch.tensor([[[-1, 7, -1, 4, 9], [-1, 7, -1, 4, 9]]])
    assert match_word_targets(belongs, torch.tensor([[4, 7]])).tolist() == [[[-1, 2, -1, 1, 0]] * 2]
    assert match_word_targets(belongs, torch.tensor([[4, -1]]))[0, 0].tolist() == [-1, 0, -1, 1, 0]


def test_cross_entropy_of_the_words_that_count():
    # none, first, second; two words
    probabilities = torch.tensor([[[[0.2, 0.5], [0.7, 0.1], [0.1, 0.4]]]])
    loss, weight = word_loss(probabilities, torch.tensor([[[1, 0]]]), 0.5)
    torch.testing.assert_close(
        loss, torch.tensor([[-(torch.tensor(0.7).log() + 0.5 * torch.tensor(0.5).log())]])
    )
    assert weight.tolist() == [[1.5]]
    loss, weight = word_loss(probabilities, torch.tensor([[[-1, -1]]]), 0.5)
    assert (loss.item(), weight.item()) == (0.0, 0.0)


def test_a_noun_starts_as_its_prompt(tower):
    """KgCoOp: the context begins as "a photo of a", so Eq. 3.1 begins at zero for that template."""
    net = words()
    net.start(tower)
    nouns = net.nouns(tower.tokens(["w0", "w3"]), tower)
    prompts = tower.tokens(["a photo of a w0", "a photo of a w3"])
    torch.testing.assert_close(nouns, F.normalize(tower(prompts), dim=-1))
    nouns.sum().backward()
    assert float(net.context.grad.abs().sum()) > 0


def test_a_longer_context_is_filled_up(tower):
    net = words(context=7)
    net.start(tower)
    unknown = tower.embed(torch.tensor(1))  # x is no word of this tower
    torch.testing.assert_close(net.context[3:].data, unknown.expand(4, -1))
    assert net.nouns(tower.tokens(["w0"]), tower).shape == (1, TEXT)


def test_what_all_shows_is_the_sentence_and_what_nothing_shows_the_prompt(tower):
    net, sentences = words(), named(["a w0 with w1", "w2"], tower).view(1, 2, -1)
    plain = F.normalize(tower(sentences[0]), dim=-1)
    torch.testing.assert_close(net.highlight(sentences, torch.ones(1, 2, 12), tower)[0], plain)
    net.prompt.data.normal_()
    hidden = net.highlight(sentences, torch.zeros(1, 2, 12), tower)[0]
    tokens = sentences[0]
    # begin and end stay
    embedded = torch.where(tower.special(tokens)[..., None], tower.embed(tokens), net.prompt[:12])
    torch.testing.assert_close(
        hidden, F.normalize(tower.pool(tower.states(embedded, tokens), tokens), dim=-1)
    )
    assert not torch.allclose(hidden, plain)


def test_without_word_prompts_they_stay_zero():
    assert not words(prompt=False).prompt.requires_grad


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"context": 0}, "context and positions must be at least 1"),
        ({"width": 7, "heads": 2}, "width 7 is no multiple of 2 heads"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        WordConfig(**changes)
