"""Texts are embedded once, as long as what embeds them stays the same."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from captionseg.inference import class_embeddings
from captionseg.inference.class_embeddings import embed_class_names
from captionseg.inference.text_cache import TextCache, identify_state
from captionseg.modeling.segmenter import InputSpec


class Counter:
    """Embeds a text by its length, and keeps what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, texts) -> np.ndarray:
        self.asked.append(list(texts))
        return np.array([[len(text), 1.0] for text in texts], np.float32)


def test_only_what_is_new_is_embedded():
    cache, encode = TextCache(), Counter()
    first = cache.embed(["ab", "abc", "ab"], encode, 0)
    assert first.tolist() == [[2, 1], [3, 1], [2, 1]]
    assert cache.embed(["abc", "a", "abc", "ab"], encode, 0)[:, 0].tolist() == [3, 1, 3, 2]
    assert encode.asked == [["ab", "abc"], ["a"]]
    assert len(cache) == 3


def test_what_was_not_used_for_longest_makes_room():
    cache, encode = TextCache(most=3), Counter()
    cache.embed(["a", "b", "c"], encode, 0)
    cache.embed(["a", "d"], encode, 0)  # b goes
    assert len(cache) == 3
    cache.embed(["a", "c", "d"], encode, 0)
    assert encode.asked == [["a", "b", "c"], ["d"]]
    many = [str(n) for n in range(10)]
    assert len(cache.embed(many, encode, 0)) == 10
    assert len(cache) == 3


def test_another_state_forgets_everything():
    cache, encode = TextCache(), Counter()
    for state in (0, 1, 1, 0):
        cache.embed(["a"], encode, state)
    assert encode.asked == [["a"]] * 3


def test_a_kept_vector_is_not_the_one_that_was_given_away():
    cache, encode = TextCache(), Counter()
    for _ in range(2):
        cache.embed(["abc"], encode, 0)[:] = 0
    assert cache.embed(["abc"], encode, 0).tolist() == [[3, 1]]


def test_every_change_of_weights_is_noticed():
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)).eval()
    seen = [identify_state(model)]
    assert identify_state(model) == seen[0]

    def note() -> None:
        assert identify_state(model) not in seen
        seen.append(identify_state(model))

    optimiser = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    note()
    model.load_state_dict({name: value + 1 for name, value in model.state_dict().items()})
    note()
    model[1].running_mean += 1
    note()
    model.double()
    note()
    assert identify_state(model.train()) is None
    with torch.inference_mode():
        assert identify_state(torch.nn.Linear(1, 1).eval()) is None


@pytest.fixture(autouse=True)
def letters(monkeypatch):
    """A tokenizer to which each letter is a token; the real ones take seconds to import."""

    def tokenize(texts) -> np.ndarray:
        rows = np.zeros((len(texts), max(map(len, texts))), np.int64)
        for row, text in zip(rows, texts, strict=True):
            row[: len(text)] = [ord(letter) for letter in text]
        return rows

    monkeypatch.setattr(class_embeddings, "build_tokenizer", lambda *_: tokenize)


class Own(torch.nn.Module):
    """Embeds a text by its number of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(reads=InputSpec(tokens="clip"))
        self.weight, self.calls = torch.nn.Parameter(torch.ones(2)), 0

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        self.calls += len(tokens)
        count = (tokens != 0).sum(1)
        return torch.stack([count, torch.ones_like(count)], 1) * self.weight


def embed(model, names, prompts="simple", frozen=dict):
    return embed_class_names(model, None, frozen, names, prompts)


def test_classes_of_a_model_are_the_same_the_second_time_and_follow_its_weights():
    model, other = Own().eval(), Own().eval()
    first = embed(model, ["cat", "big dog"])
    assert torch.equal(embed(model, ["cat", "big dog"]), first)
    assert model.calls == 2
    # templates are part of the text
    assert not torch.equal(embed(model, ["cat", "big dog"], "segment"), first)
    assert model.calls == 2 + 2 * 4
    assert torch.equal(embed(other, ["cat", "big dog"]), first)
    assert other.calls == 2
    with torch.no_grad():
        model.weight[0] = 3
    changed = embed(model, ["cat", "big dog"])
    torch.testing.assert_close(changed[:, 0] / changed[:, 1], 3 * first[:, 0] / first[:, 1])


def test_nothing_is_kept_in_training():
    model = Own().train()
    for _ in range(2):
        embed(model, ["cat"])
    assert model.calls == 2


@pytest.mark.parametrize("again", [True, False])
def test_another_frozen_encoder_embeds_again(again):
    model, encoders = Own().eval(), [SimpleNamespace(text=Counter()) for _ in range(2)]
    model.config = SimpleNamespace(reads=InputSpec())
    one = embed(model, ["cat"], frozen=lambda: encoders[0])
    two = embed(model, ["cat"], frozen=lambda: encoders[again])
    assert torch.equal(one, two)
    assert [len(encoder.text.asked) for encoder in encoders] == [1, int(again)]
