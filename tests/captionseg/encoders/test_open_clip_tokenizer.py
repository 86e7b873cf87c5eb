"""Tokenizers from local folders: texts become what open_clip's own loading makes of them."""

from __future__ import annotations

import json
import socket

import numpy as np
import open_clip
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from captionseg.encoders import open_clip_tokenizer
from captionseg.encoders.encoder import normalise
from captionseg.encoders.open_clip import OpenClipParams
from captionseg.encoders.open_clip_tokenizer import load_tokenizer
from captionseg.records import UserError
from captionseg.runtime.device import Runtime
from tests.captionseg.encoders.timm_towers import describe, register

WORDS = ["<unk>", "</s>", "a", "dog", "photo", "of", "cat", "runs"]
SIGLIP = {
    "context_length": 6,
    "vocab_size": 8,
    "hf_tokenizer_name": "someone/SigLIP-tiny",
    "tokenizer_kwargs": {"clean": "canonicalize"},
    "width": 16,
    "heads": 2,
    "layers": 1,
    "no_causal_mask": True,
    "proj_bias": True,
    "pool_type": "last",
}


def save_tokenizer(folder, words=WORDS) -> str:
    """The files of a tokenizer of whole words that ends texts by </s> and pads with it, as
    SigLIP's does.
    """
    encode = Tokenizer(
        models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>")
    )
    encode.pre_tokenizer = pre_tokenizers.Whitespace()
    encode.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=encode, unk_token="<unk>", eos_token="</s>", pad_token="</s>"
    )
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    """Weights of a model that open_clip lists as tiny-sig, with a text encoder like SigLIP's."""
    made = tmp_path_factory.mktemp("tiny-sig")
    register("sigmoid")
    config = describe("sigmoid", SIGLIP) | {"init_logit_bias": -10, "custom_text": True}
    (made / "tiny-sig.json").write_text(json.dumps(config))
    open_clip.add_model_config(made)
    torch.manual_seed(0)
    torch.save(open_clip.create_model("tiny-sig").state_dict(), made / "weights.pt")
    return str(made / "weights.pt")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("a server was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_texts_are_cleaned_and_padded_as_open_clip_does(folder, checkpoint):
    encode = load_tokenizer("tiny-sig", folder, weights=checkpoint, tokens=8)
    # lower case, no punctuation; </s> ends and pads; of six tokens; unknown words
    assert encode(["A Dog, runs!", "a_cat", "zebra"]).tolist() == [
        [2, 3, 7, 1, 1, 1],
        [2, 6, 1, 1, 1, 1],
        [0, 1, 1, 1, 1, 1],
    ]


def test_texts_are_embedded_by_it_and_what_is_cut_is_said(folder, checkpoint, caplog):
    encoder = OpenClipParams("tiny-sig", checkpoint, tokenizer=folder).build(Runtime())
    texts = ["A photo of a dog.", "a photo of a dog, a cat"]
    tokens = torch.tensor([[2, 4, 5, 2, 3, 1], [2, 4, 5, 2, 3, 1]])
    with torch.inference_mode():
        expected = normalise(encoder.model.encode_text(tokens).numpy())
    np.testing.assert_allclose(encoder.text(texts), expected, atol=1e-6)
    (message,) = caplog.messages
    assert "longer than the 6 tokens" in message
    assert "a dog, a cat" in message
    with pytest.raises(UserError, match="needs a text encoder like CLIP's"):
        encoder.text_tower  # noqa: B018


def refused(message: str, name: str, folder: str, weights: str, tokens: int) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_tokenizer(name, folder, weights=weights, tokens=tokens)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_that_is_not_given_is_one_line(folder, checkpoint, tmp_path):
    refused(
        "tokenizer: tiny-sig needs the tokenizer of someone/SigLIP-tiny, which is not downloaded; "
        "give a local folder with its tokenizer.json",
        *("tiny-sig", "", checkpoint, 8),
    )
    refused("needs the tokenizer of timm/ViT-B-16-SigLIP2,", "ViT-B-16-SigLIP2", "", "webli", 8)
    (tmp_path / "weights.pt").touch()
    save_tokenizer(tmp_path)
    refused(f"set it to {tmp_path}$", "tiny-sig", "", str(tmp_path / "weights.pt"), 8)


def test_a_model_without_a_name_of_a_tokenizer_that_open_clip_would_download(monkeypatch):
    monkeypatch.setattr(open_clip, "get_model_config", lambda _: {"text_cfg": {}})
    refused("my-SigLIP needs the tokenizer of SigLIP, which is not dow", "my-SigLIP", "", "", 8)


def test_a_folder_without_a_tokenizer_is_one_line(checkpoint, tmp_path):
    refused("no tokenizer there .*needs that of someone", "tiny-sig", str(tmp_path), checkpoint, 8)
    (tmp_path / "tokenizer.json").write_text("{")
    refused("cannot load a tokenizer from it: ", "tiny-sig", str(tmp_path), checkpoint, 8)


@pytest.mark.parametrize("tokens", [7, 9])
def test_the_tokenizer_of_another_model_is_one_line(folder, checkpoint, tokens):
    refused(
        f"a tokenizer of 8 tokens, but the text encoder knows {tokens}; it is that of anothe",
        *("tiny-sig", folder, checkpoint, tokens),
    )


def test_a_model_of_clips_tokenizer_takes_no_other(folder):
    refused("ViT-B-16 has CLIP's own tokenizer", "ViT-B-16", folder, "openai", 49408)
    encode = load_tokenizer("PE-Core-B-16", "", weights="meta", tokens=49408)
    assert encode(["a dog"]).shape == (1, 32)  # its own context length


def test_all_released_models_have_a_known_tokenizer(monkeypatch):
    """CLIP's, or the name of one that a folder is asked for; none is guessed."""
    monkeypatch.setattr(open_clip_tokenizer, "load_clip_tokenizer", lambda name, text: name)
    asked = set()
    for name in open_clip.list_models():
        try:
            assert load_tokenizer(name, "", weights="", tokens=0) == name
        except UserError as error:
            asked.add(str(error).split(" of ")[1].split(",")[0])
    assert {"timm/ViT-B-16-SigLIP", "timm/ViT-B-16-SigLIP2", "bert-base-uncased"} <= asked
    assert all(open_clip_tokenizer.WHERE not in name for name in asked)
