"""Words in any script and any encoding of the same letters."""

import unicodedata

import pytest

from captionseg.text.words import adjoin, split, tokens


@pytest.mark.parametrize("apostrophe", ["'", "\u2019", "\u02bc", "\uff07"])
def test_the_possessive_is_of_no_word_whichever_apostrophe(apostrophe):
    text = (
        f"the dog{apostrophe}s bowl, the DOGS{apostrophe} o{apostrophe}clock "
        f"rock{apostrophe}n{apostrophe}roll"
    )
    assert tokens(text) == ["the", "dog", "bowl", "the", "dogs", "o'clock", "rock'n'roll"]


@pytest.mark.parametrize(
    "word", ["café", "Ñandú", "한국", "कुत्ता", "สุนัข", "كَلْب", "כֶּלֶב", "собака", "Việt"]
)
def test_a_word_is_one_word_composed_or_not(word):
    forms = {tuple(tokens(f"<{unicodedata.normalize(form, word)}>, x")) for form in ("NFC", "NFD")}
    assert len(forms) == 1
    assert [len(words) for words in forms] == [2]


def test_same_letters_in_other_code_points_are_the_same():
    assert tokens("\uff24\uff2f\uff27 ze\u00adbra \u200fdog\u200f") == ["dog", "zebra", "dog"]
    assert tokens("A Dog's T-shirt, (no. 3_b)!") == ["a", "dog", "t", "shirt", "no", "3", "b"]
    assert tokens("🦓 !? ...") == []


def test_places_are_those_of_the_text_as_written():
    for text in ("a Dog's İstanbul bowl", "cafe\u0301 dog\u2019s"):
        assert [tokens(text[w.start : w.end]) for w in split(text)] == [
            [w.key] for w in split(text)
        ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hot dog", True),
        ("hot-dog", True),
        ("hot\u2011dog", True),
        ("hot_dog", True),
        ("hot\n dog", True),
        ("hot, dog", False),
        ("hot; dog", False),
        ("(hot) dog", False),
        ("hot\uff0cdog", False),
        ("St. Bernard", True),
    ],
)
def test_what_parts_two_words(text, expected):
    assert adjoin(text, *split(text)) is expected
