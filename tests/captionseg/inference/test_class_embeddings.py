"""Names by whichever text encoder a model has."""

import gc
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from captionseg.encoders.lite0_minilm import load_text_tower
from captionseg.encoders.text_tower import BertTower
from captionseg.inference import class_embeddings
from captionseg.inference.class_embeddings import (
    build_text_encoder,
    build_tokenizer,
    choose_templates,
    embed_class_names,
)
from captionseg.modeling.segmenter import InputSpec
from captionseg.text.prompts import read_templates
from captionseg.text.tokenizers import tokenizer


class Own(torch.nn.Module):
    """Says how many tokens a text has, and what its last but one is."""

    def __init__(self, reads: InputSpec) -> None:
        super().__init__()
        self.config = SimpleNamespace(reads=reads)
        self.weight = torch.nn.Parameter(torch.ones(1))

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        count = (tokens != 0).sum(1)
        return torch.stack([count, tokens.gather(1, count[:, None] - 2)[:, 0]], 1) * self.weight


def test_frozen_texts_are_those_of_the_encoder_that_was_used():
    frozen = SimpleNamespace(text=lambda texts: np.zeros((len(texts), 3)))
    assert build_text_encoder(Own(InputSpec()), None, lambda: frozen) is frozen.text


@pytest.mark.parametrize("batch", [1, 2, 100])
@pytest.mark.parametrize("kind", ["clip", "bert"])
def test_own_encoders_read_tokens_batch_by_batch(kind, batch):
    def never():
        raise AssertionError("the frozen encoder is not needed")

    texts = ["a photo of a cat.", "zebra", "two dogs"]
    found = build_text_encoder(Own(InputSpec(tokens=kind)), None, never, batch=batch)(texts)
    tokens = tokenizer(kind)(texts)
    count = (tokens != 0).sum(1)
    assert found.tolist() == [[n, row[n - 2]] for n, row in zip(count, tokens, strict=True)]


def test_a_tokenizer_beside_a_saved_model_goes_before_the_packaged_one(tmp_path):
    first = tokenizer("bert")
    first.encode.add_tokens(["zebracorn"])
    first.save(tmp_path / "tokenizer")
    reads = InputSpec(tokens="bert", tokenizer="/where/it/was/trained")
    found = build_text_encoder(Own(reads), tmp_path, dict)(["a zebracorn"])
    assert found.tolist() == [[4, 30522]]


def test_vectors_of_classes_lie_where_the_model_does():
    frozen = SimpleNamespace(text=lambda texts: np.array([[len(text), 1.0] for text in texts]))
    still = torch.nn.BatchNorm1d(2, affine=False)  # buffers alone
    for model in (Own(InputSpec()), still):
        model.config = SimpleNamespace(reads=InputSpec())
        found = embed_class_names(model, None, lambda: frozen, ["cat", "zebra"], "simple")
        assert (found.dtype, found.device.type) == (torch.float32, "cpu")
        torch.testing.assert_close(found[:, 0] / found[:, 1], torch.tensor([17.0, 19.0]))
        assert (
            embed_class_names(model.to("meta"), None, lambda: frozen, ["cat"], "simple").device.type
            == "meta"
        )


def test_a_model_has_one_tokenizer_as_long_as_it_lives(monkeypatch):
    made = []
    monkeypatch.setattr(
        class_embeddings, "tokenizer", lambda *a, **k: made.append(a) or tokenizer(*a, **k)
    )
    model, other = Own(InputSpec(tokens="clip")), Own(InputSpec(tokens="bert"))
    for _ in range(3):
        embed_class_names(model, None, dict, ["cat"], "simple")
    embed_class_names(other, None, dict, ["cat"], "simple")
    assert made == [("clip", ""), ("bert", "")]
    seen = weakref.ref(model)
    del model
    gc.collect()
    assert seen() is None


@pytest.fixture(scope="module")
def tower() -> BertTower:
    return load_text_tower()


def test_tokens_of_a_frozen_tower_are_those_of_its_tokenizer(tower, tmp_path):
    texts = ["a photo of a cat.", "zebracorns", ""]
    tokens = build_tokenizer(InputSpec(tokens="frozen", context=5), tower=tower)
    expected = tokenizer("bert", context=5)(texts)  # the same word pieces, by transformers
    found = tokens(texts)
    assert (found.dtype, found.tolist()) == (np.int64, expected.tolist())
    assert not (found == tokens.mask).any()
    tokens.save(tmp_path)
    assert not list(tmp_path.iterdir())


def test_own_tokens_need_no_tower():
    for kind in ("clip", "bert"):
        tokens = build_tokenizer(InputSpec(tokens=kind, context=4))
        assert (
            tokens(["a very long text"]).tolist()
            == tokenizer(kind, context=4)(["a very long text"]).tolist()
        )
    for reads in (InputSpec(tokens="frozen"), InputSpec()):
        with pytest.raises(AssertionError, match="the frozen encoder is missing"):
            build_tokenizer(reads)


def test_a_model_that_has_learnt_its_prompt_takes_names_alone():
    assert choose_templates(Own(InputSpec(tokens="frozen")), "simple") == ("{}",)
    for reads in (InputSpec(), InputSpec(tokens="clip"), InputSpec(live=True)):
        assert choose_templates(Own(reads), "simple") == read_templates("simple") != ("{}",)


class Learnt(Own):
    """See Own; the frozen encoder is part of it."""

    def attach(self, encoder) -> None:
        self.encoder = [encoder]


def test_names_go_through_a_model_with_the_frozen_encoder_attached(tower):
    frozen, model = SimpleNamespace(text_tower=tower), Learnt(InputSpec(tokens="frozen"))
    names = ["cat", "zebracorn"]
    found = embed_class_names(model, None, lambda: frozen, names, "simple")
    assert model.encoder == [frozen]
    expected = model.encode_text(tower.tokens(names)).detach()
    torch.testing.assert_close(found, torch.nn.functional.normalize(expected.float(), dim=1))
    assert expected[:, 0].tolist() == [3, 5]  # [CLS] cat [SEP], [CLS] zebra ##cor ##n [SEP]
