"""Text encoders step by step: the same as the implementations that they replace."""

from __future__ import annotations

import copy
import json
import shutil
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from captionseg.encoders import lite0_minilm
from captionseg.encoders.lite0_minilm import load_text_tower
from captionseg.encoders.text_tower import BertTower, ClipTower
from captionseg.records import UserError
from captionseg.storage.folders import find_package_file

TEXTS = ["a dog", "a photo of a very large herd of zebras that stand on dry grass", "", "two cats!"]
FOLDER = find_package_file(*lite0_minilm.TEXT_WEIGHTS)
SMALL = {
    "vocab_size": 30522,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
    "type_vocab_size": 3,
    "layer_norm_eps": 1e-3,
}


def noisy(model: Any) -> Any:
    """No bias is zero any more, and no norm the identity."""
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def random_bert() -> BertModel:
    torch.manual_seed(0)
    model = BertModel(BertConfig(**SMALL)).eval()
    return noisy(model)


def small_tower(weights: dict[str, Tensor] | None = None, **config) -> BertTower:
    encode = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    return BertTower(
        weights or random_bert().state_dict(), SMALL | config, encode, context=40
    ).eval()


def mean_pooled(model: BertModel, tokens: Tensor) -> Tensor:
    """Sentence-BERT by transformers."""
    there = (tokens != 0).long()
    states = model(input_ids=tokens, attention_mask=there).last_hidden_state
    return (states * there[..., None]).sum(1) / there.sum(1, keepdim=True)


# torch takes a shorter way where no gradient is asked for
@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("size", ["packaged", "small"])
def test_a_bert_is_that_of_transformers(size, grad):
    tower = load_text_tower().eval() if size == "packaged" else small_tower()
    model = BertModel.from_pretrained(FOLDER).eval() if size == "packaged" else random_bert()
    tokens = tower.tokens(TEXTS)
    with torch.set_grad_enabled(grad):
        found, expected = tower(tokens), mean_pooled(model, tokens)
    assert found.shape == (len(TEXTS), tower.out)
    assert not torch.allclose(found[0], found[1], atol=1e-2)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_names_of_a_bert_inside_a_larger_model_fit_too():
    state = random_bert().state_dict()
    tower, other = (
        small_tower(state),
        small_tower({f"bert.{name}": value for name, value in state.items()}),
    )
    tokens = tower.tokens(TEXTS)
    torch.testing.assert_close(other(tokens), tower(tokens))


def test_padding_changes_neither_a_text_nor_the_states_of_its_tokens():
    tower = small_tower()
    together = tower.tokens(TEXTS)
    states = tower.states(tower.embed(together), together)
    for row, text in enumerate(TEXTS):
        alone = tower.tokens([text])
        count = alone.shape[1]
        assert together[row, :count].tolist() == alone[0].tolist()
        assert not together[row, count:].any()
        own = tower.states(tower.embed(alone), alone)
        torch.testing.assert_close(states[row, :count], own[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(
            tower.pool(states, together)[row], tower.pool(own, alone)[0], atol=1e-5, rtol=1e-5
        )


def test_special_tokens_of_a_bert_are_its_begin_its_end_and_padding():
    tower = small_tower()
    tokens = tower.tokens(["a dog runs", "cat"])
    assert [[tower.encode.id_to_token(t) for t in row] for row in tokens.tolist()] == [
        ["[CLS]", "a", "dog", "runs", "[SEP]"],
        ["[CLS]", "cat", "[SEP]", "[PAD]", "[PAD]"],
    ]
    assert tower.special(tokens).tolist() == [
        [True, False, False, False, True],
        [True, False, True, True, True],
    ]


@pytest.mark.parametrize("longest", [3, 6])
def test_a_text_that_is_cut_keeps_its_end(build, longest):
    for tower in (small_tower(), build("open_clip").text_tower):
        whole, cut = tower.tokens(TEXTS), tower.tokens(TEXTS, longest)
        assert cut.shape == (4, longest)
        assert cut[1, :-1].tolist() == whole[1, : longest - 1].tolist()
        assert cut[1, -1] == whole[1, -1]
        assert tower.special(cut[1]).tolist() == [True] + [False] * (longest - 2) + [True]
        assert tower.tokens(TEXTS).tolist() == whole.tolist()  # the next text is not cut for it


def test_no_text_is_longer_than_the_context():
    tower = small_tower()
    for longest in (0, 400):
        assert tower.tokens(["dog " * 100], longest).shape == (1, 40)


def test_a_layer_that_the_weights_lack_is_one_line():
    with pytest.raises(
        UserError, match=r"not the weights of a BERT with this config.json: .*encoder\.layer\.2"
    ):
        small_tower(num_hidden_layers=3)


def test_a_width_that_the_weights_have_not_is_one_line():
    with pytest.raises(
        UserError, match=r"this config.json: size mismatch for layers.*fc"
    ) as caught:
        small_tower(intermediate_size=25)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "damage", ["tokenizer.json", "config.json", "model.safetensors", "a layer", "a field"]
)
def test_a_broken_package_is_one_line(monkeypatch, tmp_path, damage):
    for name in ("tokenizer.json", "config.json", "model.safetensors"):
        shutil.copy(FOLDER / name, tmp_path / name)
    config = json.loads((FOLDER / "config.json").read_text())
    if damage == "a layer":
        state = load_file(FOLDER / "model.safetensors")
        save_file(
            {k: v for k, v in state.items() if ".layer.3." not in k}, tmp_path / "model.safetensors"
        )
    elif damage == "a field":
        del config["hidden_size"]
        (tmp_path / "config.json").write_text(json.dumps(config))
    else:
        (tmp_path / damage).write_text("{")
    monkeypatch.setattr(lite0_minilm, "find_package_file", lambda *_: tmp_path)
    with pytest.raises(UserError, match=r"not the expected MiniLM weights .*; reinstall") as caught:
        load_text_tower()
    assert "\n" not in str(caught.value)


@pytest.fixture
def clip(build) -> ClipTower:
    """Of the tiny model."""
    torch.manual_seed(0)
    return ClipTower(noisy(copy.deepcopy(build("open_clip").model)), build("open_clip").tokenizer)


def test_clip_is_that_of_open_clip(clip):
    tokens = clip.tokens(TEXTS)
    assert tokens.shape[1] < clip.context  # and nothing is lost by that
    expected = clip.net.encode_text(clip.encode(TEXTS))
    assert expected.shape == (len(TEXTS), clip.out)
    torch.testing.assert_close(clip(tokens), expected, atol=1e-5, rtol=1e-4)


def test_the_end_of_a_clip_text_is_found_behind_the_number_zero(clip):
    """CLIP's 0 is an exclamation mark that something follows without a space, and padding."""
    texts = ["dog !(", "dog"]
    tokens = clip.tokens(texts)
    assert tokens.tolist() == [[49406, 1929, 0, 263, 49407], [49406, 1929, 49407, 0, 0]]
    torch.testing.assert_close(
        clip(tokens), clip.net.encode_text(clip.encode(texts)), atol=1e-5, rtol=1e-4
    )


def test_clip_with_its_text_side_in_a_module_of_its_own(clip):
    """open_clip's CustomTextCLIP, and its projection with a bias."""
    net = clip.net
    linear = nn.Linear(clip.width, clip.out)
    nn.init.zeros_(linear.bias)
    linear.weight.data.copy_(net.text_projection.T)
    tokens = clip.tokens(TEXTS)
    expected = clip(tokens)
    text = SimpleNamespace(
        **{
            name: getattr(net, name)
            for name in (
                "attn_mask",
                "token_embedding",
                "positional_embedding",
                "transformer",
                "ln_final",
            )
        },
        text_projection=linear,
    )
    other = ClipTower(SimpleNamespace(text=text), clip.encode)
    assert (
        (other.width, other.out, other.context)
        == (clip.width, clip.out, clip.context)
        == (16, 24, 77)
    )
    torch.testing.assert_close(other(tokens), expected)


def test_special_tokens_of_clip_are_its_begin_its_end_and_padding(clip):
    tokens = clip.tokens(["a dog runs", "cat"])
    assert tokens[:, [0, -1]].tolist() == [[49406, 49407], [49406, 0]]
    assert clip.special(tokens).tolist() == [
        [True, False, False, False, True],
        [True, False, True, True, True],
    ]


@pytest.mark.parametrize("lacks", ["attn_mask", "text_projection"])
def test_a_text_encoder_of_another_form_is_one_line(clip, lacks):
    names = ("attn_mask", "token_embedding", "positional_embedding", "text_projection")
    parts = {name: getattr(clip.net, name) for name in names}
    ClipTower(SimpleNamespace(**parts), clip.encode)
    for other in (
        {k: v for k, v in parts.items() if k != lacks},
        parts | {lacks: None},
        parts | {"cls_emb": 1},
    ):
        with pytest.raises(
            UserError, match=r"needs a text encoder like CLIP's .* such as ViT-B-16"
        ) as caught:
            ClipTower(SimpleNamespace(**other), clip.encode)
        assert "\n" not in str(caught.value)
