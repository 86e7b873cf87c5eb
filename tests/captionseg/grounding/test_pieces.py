"""Texts in pieces, with BERT's word pieces; numbers of tokens are counted by hand."""

import numpy as np
import pytest

from captionseg.grounding.pieces import (
    CLS,
    QUESTION,
    SEP,
    STOP,
    add_special_tokens,
    cut_into_pieces,
    cut_ranges,
    reason_against,
)


def words(piece, text: str) -> list[str]:
    return [text[start:end] for start, end in piece.places[piece.words]]


def test_a_caption_is_one_piece_with_the_tokenizers_own_numbers(tokenizer):
    text = "An orange-red Apple."
    (piece,) = cut_into_pieces(tokenizer, text, 256)
    assert piece.ids.tolist() == tokenizer(text)["input_ids"]
    # places are those of the text as written
    assert words(piece, text) == ["An", "orange", "-", "red", "Apple"]
    assert piece.words.tolist() == [False, *[True] * 5, False, False]


@pytest.mark.parametrize("text", ["a cat on a mat", "  a cat on a mat\n"])
def test_a_last_sentence_without_a_period_gets_one(tokenizer, text):
    (piece,) = cut_into_pieces(tokenizer, text, 256)
    assert piece.ids.tolist() == tokenizer("a cat on a mat.")["input_ids"]
    assert words(piece, text) == ["a", "cat", "on", "a", "mat"]


def test_a_question_mark_ends_a_sentence_and_a_comma_does_not(tokenizer):
    assert cut_into_pieces(tokenizer, "a cat?", 256)[0].ids[-2:].tolist() == [QUESTION, SEP]
    assert cut_into_pieces(tokenizer, "a cat,", 256)[0].ids[-2:].tolist() == [STOP, SEP]


def test_separators_are_no_words_wherever_they_stand(tokenizer):
    text = "a 3.5 m pole? [SEP] a cat."
    (piece,) = cut_into_pieces(tokenizer, text, 256)
    assert words(piece, text) == ["a", "3", "5", "m", "pole", "a", "cat"]


def test_nothing_and_mere_punctuation_give_no_piece(tokenizer):
    assert cut_into_pieces(tokenizer, "", 256) == []
    assert cut_into_pieces(tokenizer, " . ? . ", 256) == []


def test_long_captions_are_cut_between_sentences_and_keep_their_places(tokenizer):
    text = "a cat. a dog. a red fox runs. a cow"
    found = cut_into_pieces(
        tokenizer, text, 9
    )  # 6 tokens of text, [CLS], [SEP], and room for a period
    assert [words(piece, text) for piece in found] == [
        ["a", "cat", "a", "dog"],
        ["a", "red", "fox", "runs"],
        ["a", "cow"],
    ]
    assert [len(piece.ids) for piece in found] == [8, 7, 5]
    assert text[slice(*found[2].places[2])] == "cow"


def test_no_piece_exceeds_the_limit_and_no_word_is_lost(tokenizer):
    sentence = "a dog and " * 150 + "a cat. "  # 453 tokens: longer than the model reads
    text = sentence + "a man in a suit. " * 60
    found = cut_into_pieces(tokenizer, text, 256)
    assert max(len(piece.ids) for piece in found) <= 256
    assert [word for piece in found for word in words(piece, text)] == text.replace(".", "").split()
    assert all(
        piece.ids[0] == CLS and piece.ids[-2] == STOP and piece.ids[-1] == SEP for piece in found
    )


def test_cuts_by_hand():
    ids = np.array([1, 1, STOP, 1, QUESTION, 1, 1, 1, 1, 1, STOP, 1])
    assert cut_ranges(ids, 12) == [(0, 12)]
    assert cut_ranges(ids, 6) == [(0, 5), (5, 11), (11, 12)]
    assert cut_ranges(ids, 4) == [
        (0, 3),
        (3, 5),
        (5, 9),
        (9, 12),
    ]  # the third sentence has 6 tokens
    assert cut_ranges(ids[:0], 4) == []


def test_a_piece_is_closed_once():
    places = np.array([[0, 1], [1, 2]])
    assert add_special_tokens(np.array([7, 8]), places).ids.tolist() == [CLS, 7, 8, STOP, SEP]
    ended = add_special_tokens(np.array([7, STOP]), np.array([[0, 1], [-1, -1]]))
    assert ended.ids.tolist() == [CLS, 7, STOP, SEP]
    assert ended.places.tolist() == [[-1, -1], [0, 1], [-1, -1], [-1, -1]]


def test_a_tokenizer_with_other_numbers_or_no_places_does_not_fit(tokenizer):
    class Other:
        is_fast = True

        def __init__(self, **changes):
            self.numbers = {"[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029} | changes

        def convert_tokens_to_ids(self, piece):
            return self.numbers[piece]

    assert reason_against(tokenizer) == ""
    assert reason_against(Other()) == ""
    assert "has . as 5, the model as 1012" in reason_against(Other(**{".": 5}))
    slow = Other()
    slow.is_fast = False
    assert "knows no places" in reason_against(slow)
