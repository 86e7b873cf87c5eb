"""Text encoders of one's own: BERT as transformers has it, sizes from a checkpoint."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

from captionseg.modeling.towers.texts import (
    BertText,
    TextConfig,
    build_text_encoder,
    pad_and_join,
    with_sizes,
)
from captionseg.records import UserError

SMALL = {
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "vocab_size": 40,
}


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    BertModel(BertConfig(**SMALL)).save_pretrained(tmp_path)
    return tmp_path


def test_sizes_and_weights_are_those_of_the_checkpoint(folder):
    config = with_sizes(TextConfig("bert", weights=str(folder)))
    assert (config.width, config.depth, config.heads, config.hidden, config.vocabulary) == (
        8,
        2,
        2,
        12,
        40,
    )
    ours = build_text_encoder(config)
    assert isinstance(ours, BertText)
    ours.start_from(folder)
    theirs = BertModel.from_pretrained(folder).eval()
    tokens = torch.tensor([[1, 5, 6, 2], [1, 7, 2, 0]])
    expected = theirs(input_ids=tokens, attention_mask=(tokens != 0).long()).last_hidden_state
    torch.testing.assert_close(ours.eval().states(tokens), expected)
    torch.testing.assert_close(ours(tokens), expected[:, 0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_act": "relu"}, "a bert with hidden_act 'relu'; only 'gelu' can be expressed"),
        ({"layer_norm_eps": 0.1}, "a bert with layer_norm_eps 0.1; only 1e-12"),
        ({"position_embedding_type": "relative_key"}, "a bert with position_embedding_type"),
    ],
)
def test_what_no_shape_tells_is_refused(folder, change, message):
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | change))
    with pytest.raises(UserError, match=message):
        with_sizes(TextConfig("bert", weights=str(folder)))


@pytest.mark.parametrize(
    ("lost", "message"), [(True, "1 tensors are missing"), (False, "contains NaN")]
)
def test_weights_that_are_missing_or_no_numbers(folder, lost, message):
    """transformers makes random ones of what is missing."""
    tensors = load_file(folder / "model.safetensors")
    name = next(key for key in tensors if key.endswith("layer.1.output.dense.bias"))
    if lost:
        del tensors[name]
    else:
        tensors[name][0] = torch.nan
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=message):
        BertText(with_sizes(TextConfig("bert", weights=str(folder)))).start_from(folder)


def test_padding_is_not_seen():
    torch.manual_seed(0)
    net = build_text_encoder(TextConfig("bert", width=8, depth=2, heads=2, vocabulary=40)).eval()
    short = torch.tensor([[1, 5, 6, 2]])
    torch.testing.assert_close(
        net(pad_and_join([short, torch.ones(1, 9, dtype=torch.long)]))[0], net(short)[0]
    )


def test_the_packaged_checkpoint_has_real_sizes():
    config = with_sizes(TextConfig("bert", weights="packaged"))
    assert (config.width, config.depth, config.vocabulary) == (384, 6, 30522)


def test_what_is_no_bert_is_one_line(folder, tmp_path):
    config = TextConfig("bert", weights=str(folder))
    sized = with_sizes(config)
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match="not a checkpoint of bert"):
        BertText(sized).start_from(folder)
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | {"model_type": "gpt2"}))
    with pytest.raises(UserError, match="a checkpoint of 'gpt2', not of bert"):
        with_sizes(config)
    with pytest.raises(UserError, match="not a checkpoint of bert"):
        with_sizes(TextConfig("bert", weights=str(tmp_path / "absent")))
