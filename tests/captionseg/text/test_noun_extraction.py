import re

import pytest
import spacy

from captionseg.records import UserError
from captionseg.text.noun_extraction import extract_nouns, load


def test_nouns_with_their_lemmas_in_order_and_repeated():
    rows = extract_nouns(["two zebras on the grass beside a zebra", "", "A red car near a carpet"])
    assert list(rows) == [
        [("zebras", "zebra"), ("grass", "grass"), ("zebra", "zebra")],
        [],
        [("car", "car"), ("carpet", "carpet")],
    ]


def test_a_verb_is_no_noun():
    assert [word for word, _ in next(extract_nouns(["a fox is drinking water and runs"]))] == [
        "fox",
        "water",
    ]


def test_numbers_and_signs_are_no_nouns():
    assert list(extract_nouns(["# 12 % !"])) == [[]]


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
