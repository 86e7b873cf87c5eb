"""Names by whichever text encoder a model has."""

import gc
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from captionseg.inference import words
from captionseg.inference.words import class_vectors, text_encoder
from captionseg.modeling.segmenter import Reads
from captionseg.text.tokenizers import tokenizer


class Own(torch.nn.Module):
    """Says how many tokens a text has, and what its last but one is."""

    def __init__(self, reads: Reads) -> None:
        super().__init__()
        self.config = SimpleNamespace(reads=reads)
        self.weight = torch.nn.Parameter(torch.ones(1))

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        count = (tokens != 0).sum(1)
        return torch.stack([count, tokens.gather(1, count[:, None] - 2)[:, 0]], 1) * self.weight


def test_frozen_texts_are_those_of_the_encoder_that_was_used():
    frozen = SimpleNamespace(text=lambda texts: np.zeros((len(texts), 3)))
    assert text_encoder(Own(Reads()), None, lambda: frozen) is frozen.text


@pytest.mark.parametrize("batch", [1, 2, 100])
@pytest.mark.parametrize("kind", ["clip", "bert"])
def test_own_encoders_read_tokens_batch_by_batch(kind, batch):
    def never():
        raise AssertionError("the frozen encoder is not needed")

    texts = ["a photo of a cat.", "zebra", "two dogs"]
    found = text_encoder(Own(Reads(tokens=kind)), None, never, batch=batch)(texts)
    tokens = tokenizer(kind)(texts)
    count = (tokens != 0).sum(1)
    assert found.tolist() == [[n, row[n - 2]] for n, row in zip(count, tokens, strict=True)]


def test_a_tokenizer_beside_a_saved_model_goes_before_the_packaged_one(tmp_path):
    first = tokenizer("bert")
    first.encode.add_tokens(["zebracorn"])
    first.save(tmp_path / "tokenizer")
    reads = Reads(tokens="bert", tokenizer="/where/it/was/trained")
    found = text_encoder(Own(reads), tmp_path, dict)(["a zebracorn"])
    assert found.tolist() == [[4, 30522]]


def test_vectors_of_classes_lie_where_the_model_does():
    frozen = SimpleNamespace(text=lambda texts: np.array([[len(text), 1.0] for text in texts]))
    still = torch.nn.BatchNorm1d(2, affine=False)  # buffers alone
    for model in (Own(Reads()), still):
        model.config = SimpleNamespace(reads=Reads())
        found = class_vectors(model, None, lambda: frozen, ["cat", "zebra"], "simple")
        assert (found.dtype, found.device.type) == (torch.float32, "cpu")
        torch.testing.assert_close(found[:, 0] / found[:, 1], torch.tensor([17.0, 19.0]))
        assert class_vectors(model.to("meta"), None, lambda: frozen, ["cat"], "simple").device.type == "meta"


def test_a_model_has_one_tokenizer_as_long_as_it_lives(monkeypatch):
    made = []
    monkeypatch.setattr(words, "tokenizer", lambda *a, **k: made.append(a) or tokenizer(*a, **k))
    model, other = Own(Reads(tokens="clip")), Own(Reads(tokens="bert"))
    for _ in range(3):
        class_vectors(model, None, dict, ["cat"], "simple")
    class_vectors(other, None, dict, ["cat"], "simple")
    assert made == [("clip", ""), ("bert", "")]
    seen = weakref.ref(model)
    del model
    gc.collect()
    assert seen() is None
