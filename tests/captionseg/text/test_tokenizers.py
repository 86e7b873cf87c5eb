"""Both encodings on known texts, without a network."""

import numpy as np
import pytest

from captionseg.records import UserError
from captionseg.remarks import forget, group_warnings
from captionseg.text.tokenizers import BertTokens, cut, tokenizer
from tests.tiny_sam3 import make_tokenizer


def test_clip_is_the_published_encoding():
    found = tokenizer("clip")(["a photo of a cat.", ""])
    assert found.tolist() == [
        [49406, 320, 1125, 539, 320, 2368, 269, 49407],
        [49406, 49407, 0, 0, 0, 0, 0, 0],
    ]
    assert found.dtype == np.int64


def test_bert_is_the_published_encoding_with_one_token_a_mask():
    tokens = tokenizer("bert")
    assert tokens(["A dog on [MASK].", "x"]).tolist() == [
        [101, 1037, 3899, 2006, 103, 1012, 102],
        [101, 1060, 102, 0, 0, 0, 0],
    ]
    assert tokens.mask == 103


@pytest.mark.parametrize("kind", ["clip", "bert"])
def test_long_texts_are_cut_and_still_end(kind):
    found = tokenizer(kind, context=12)(["zebra " * 3000])
    assert found.shape == (1, 12)
    assert found[0, -1] == {"clip": 49407, "bert": 102}[kind]
    assert tokenizer(kind)([]).shape == (0, 1)


def test_a_saved_tokenizer_is_the_same(tmp_path):
    first = tokenizer("bert")
    first.save(tmp_path)
    assert tokenizer("bert", tmp_path)(["zebras"]).tolist() == first(["zebras"]).tolist()
    tokenizer("clip").save(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_folder_without_a_tokenizer_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no tokenizer that transformers can read") as caught:
        BertTokens(tmp_path, 77)
    assert "\n" not in str(caught.value)


def test_padding_that_nobody_needs_is_cut():
    assert cut(np.array([[1, 0, 0], [1, 2, 0]])).tolist() == [[1, 0], [1, 2]]
    assert cut(np.zeros((2, 3), int)).shape == (2, 1)


@pytest.mark.parametrize("kind", ["clip", "bert"])
def test_what_is_cut_is_said_once_a_text(kind, caplog):
    forget()
    tokens = tokenizer(kind, context=6)
    short, just, longer, other = "a cat", "one two three four", "one two three four five", "a " * 7
    tokens([short, just])
    assert caplog.messages == []
    tokens([short, longer])
    tokens([longer])
    with group_warnings():
        tokens([just, other])
        tokens(["zebra " * 9])
    said = "longer than the 6 tokens that the text encoder reads and truncated: "
    assert [m.partition(said)[::2] for m in caplog.messages] == [
        ("1 text is ", repr(longer)),
        ("2 texts are ", f"{other!r}, 'zebra zebra zebra zebra zebra zebra z...'"),
    ]


def test_the_tokenizer_of_a_checkpoint_pads_with_zeros_and_is_saved(tmp_path):
    own = make_tokenizer()
    own.save_pretrained(tmp_path / "a")
    tokens = tokenizer("checkpoint", tmp_path / "a", context=5)
    end = own.eos_token_id
    found = tokens(["a dog", "a RED dog and a cat", ""])
    assert found[0].tolist()[:4] == own("a dog")["input_ids"]
    assert found[:, -1].tolist() == [0, end, 0]
    assert found[2].tolist() == [own.bos_token_id, end, 0, 0, 0]
    tokens.save(tmp_path / "b")
    again = tokenizer("checkpoint", tmp_path / "b", context=5)
    assert np.array_equal(again(["a dog"]), tokens(["a dog"]))
    with pytest.raises(UserError, match="no tokenizer that transformers can read"):
        tokenizer("checkpoint", tmp_path / "c")
