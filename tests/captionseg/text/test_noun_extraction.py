import re

import pytest
import spacy

from captionseg.records import UserError
from captionseg.text.noun_extraction import load, tag


def read_nouns(caption):
    return [(token.word, token.lemma) for token in next(tag([caption])) if token.is_noun]


def test_nouns_with_their_lemmas_in_order_and_repeated():
    assert read_nouns("two zebras on the grass beside a zebra") == [
        ("zebras", "zebra"),
        ("grass", "grass"),
        ("zebra", "zebra"),
    ]
    assert read_nouns("A red car near a carpet") == [("car", "car"), ("carpet", "carpet")]
    assert list(tag([""])) == [[]]


def test_a_verb_is_no_noun():
    assert [word for word, _ in read_nouns("a fox is drinking water and runs")] == ["fox", "water"]


def test_numbers_and_signs_are_no_words():
    assert list(tag(["# 12 % !"])) == [[]]


def test_words_adjoin_over_spaces_and_hyphens_alone():
    caption = "a fire-hydrant, dog and swimming  pool"
    adjoins = {token.word: token.adjoins for token in next(tag([caption]))}
    assert not adjoins["a"]
    assert adjoins["fire"]
    assert adjoins["hydrant"]
    assert not adjoins["dog"]
    assert adjoins["pool"]


def test_gerunds():
    tokens = next(tag(["dogs are swimming in a lake"]))
    assert [token.word for token in tokens if token.is_gerund] == ["swimming"]


def test_a_model_without_a_tagger_would_silently_find_nothing(tmp_path):
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(UserError, match="lacks attribute_ruler, lemmatizer, parser, tagger"):
        load(str(tmp_path / "blank"))


def test_a_model_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(
        UserError, match=re.escape("spaCy model 'no_such_model' does not load")
    ) as caught:
        load("no_such_model")
    assert "\n" not in str(caught.value)


def test_the_pinned_package_is_named_when_it_is_missing(monkeypatch):
    monkeypatch.setattr("captionseg.text.noun_extraction.MODEL_PACKAGE", "en_core_web_not_there")
    load.cache_clear()
    with pytest.raises(UserError, match=r"requirements\.lock"):
        load()
    load.cache_clear()
