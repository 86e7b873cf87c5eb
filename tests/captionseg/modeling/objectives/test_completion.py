"""Masked captions by hand: what is asked, what is answered, and single words in place of both."""

from __future__ import annotations

import math

import pytest
import torch

from captionseg.modeling.objectives.completion import Decoder, WordLogits, masked_word_loss
from captionseg.modeling.segmenter import gather_single


def test_the_loss_of_masked_words_by_hand():
    """Three masked words in two captions, four concepts, all logits 0 but one."""
    logits = torch.zeros(2, 3, 4)
    logits[0, 1, 2] = math.log(5.0)
    target = torch.tensor([[-1, 2, -1], [0, -1, 3]])
    expected = (-math.log(5 / 8) + 2 * math.log(4)) / 3
    assert masked_word_loss(WordLogits(logits, target), gather_single).item() == pytest.approx(
        expected
    )


def test_one_vector_speaks_for_all_masked_words_of_its_caption():
    logits = torch.tensor([[[0.0, math.log(3.0), 0.0]]])
    target = torch.tensor([[1, 0, -1, -1]])
    expected = (-math.log(3 / 5) - math.log(1 / 5)) / 2
    assert masked_word_loss(WordLogits(logits, target), gather_single).item() == pytest.approx(
        expected
    )


def test_nothing_masked_is_no_loss():
    found = masked_word_loss(
        WordLogits(torch.randn(2, 1, 4), torch.full((2, 3), -1)), gather_single
    )
    assert found == 0.0


def test_words_that_pad_and_the_order_of_groups_change_nothing():
    torch.manual_seed(0)
    net = Decoder(8, 2).eval()
    words, groups = torch.randn(2, 3, 8), torch.randn(2, 4, 8)
    there = torch.ones(2, 3, dtype=torch.bool)
    expected = net(words, groups, there)
    longer = torch.cat([words, torch.randn(2, 2, 8)], 1)
    found = net(longer, groups.flip(1), torch.cat([there, torch.zeros(2, 2, dtype=torch.bool)], 1))
    torch.testing.assert_close(found[:, :3], expected)
