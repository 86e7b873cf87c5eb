import pytest

from captionseg.marking.length import Length
from tests.captionseg.marking.rows import captions_of, kinds_of, marked


def test_words_and_characters():
    rows = captions_of(
        "a red barn", "red barn", "  a b c  ", "barn", "", "   ", "a" * 30, "öäü ß x"
    )
    found = marked(Length(min_words=3, min_characters=6, max_characters=29), rows)
    assert {row: reason for row, (_, reason, _) in sorted(found.items())} == {
        1: "caption of 2 words",
        2: "caption of 5 characters",
        3: "caption of 1 word",
        4: "caption of 0 words",
        5: "caption of 0 words",
        6: "caption of 1 word",
    }
    assert kinds_of(Length(max_words=1, max_characters=10), captions_of("x y", "x" * 11, "x")) == {
        0: "caption_long",
        1: "caption_long",
    }


def test_an_empty_caption_is_always_too_short():
    assert kinds_of(Length(), captions_of("", "x")) == {0: "caption_short"}


def test_limits_that_no_caption_can_keep():
    with pytest.raises(ValueError, match=r"max_words: 2 is below min_words \(3\)"):
        Length(min_words=3, max_words=2)
