"""SCLIP's attention, by hand and against the attention that it replaces."""

from __future__ import annotations

import math

import torch

from captionseg.encoders.last_block import Attended
from captionseg.modeling.sclip import Sclip, SclipConfig, correlate


def softmax(*logits: float) -> list[float]:
    total = sum(map(math.exp, logits))
    return [math.exp(x) / total for x in logits]


def test_weights_by_hand():
    """A class token and two patches, a head of 4 channels: products are halved."""
    query = torch.tensor([[0.0, 0, 0, 0], [2, 0, 0, 0], [0, 2, 0, 0]])[None, None]
    key = torch.tensor([[0.0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]])[None, None]
    by_query = [softmax(0, 0, 0), softmax(0, 2, 0), softmax(0, 0, 2)]
    by_key = [softmax(0, 0, 0), softmax(0, 1, 1), softmax(0, 1, 1)]
    found = correlate(query, key)[0, 0]
    torch.testing.assert_close(found, torch.tensor(by_query) + torch.tensor(by_key))


def test_where_keys_are_queries_it_is_twice_the_attention_of_the_block():
    """softmax(q q') + softmax(q q') is twice softmax(q k') if k is q."""
    torch.manual_seed(0)
    same, value = torch.randn(2, 2, 3, 7, 4)
    expected = torch.nn.functional.scaled_dot_product_attention(same, same, value)
    mixed = Sclip(SclipConfig()).mix(Attended(same, same, value, (2, 3)), torch.zeros(0))
    torch.testing.assert_close(mixed.value, 2 * expected)
    assert mixed.grid == (2, 3)
