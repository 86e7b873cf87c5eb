"""The published entities, every one of them, and masked captions."""

import pytest

from captionseg.text.entity_list import MASK, PERSONS, PUBLISHED, SYNONYMS, Masker, merge_synonym
from captionseg.text.vocabulary import Vocabulary

MASKER = Masker(PUBLISHED)


def test_the_list_and_what_is_left_when_synonyms_are_merged():
    assert len(PUBLISHED) == len(set(PUBLISHED)) == 99  # the paper's 100 hold both tv and TV
    assert len(PERSONS) == 17
    assert len({merge_synonym(e) for e in PUBLISHED}) == 73
    assert set(SYNONYMS) <= set(PUBLISHED)
    assert set(SYNONYMS.values()) <= set(PUBLISHED)


@pytest.mark.parametrize("entity", PUBLISHED)
@pytest.mark.parametrize(
    "caption", ["A photo of a {}.", "{}, seen from above", "the '{}' on a hill", "{} {}"]
)
def test_every_entity_is_masked_wherever_it_stands(entity, caption):
    for word in (entity, entity.upper(), entity.capitalize()):
        masked, found = MASKER(caption.replace("{}", word))
        assert masked == caption.replace("{}", MASK)
        assert found == [entity] * caption.count("{}")


@pytest.mark.parametrize(
    ("caption", "masked", "found"),
    [
        ("two dogs and a bus", "two [MASK] and a [MASK]", ["dog", "bus"]),
        ("buses, sandwiches & babies", "[MASK], [MASK] & [MASK]", ["bus", "sandwich", "baby"]),
        ("a carpet is no car", "a carpet is no [MASK]", ["car"]),
        ("A man's tie; a woman", "A [MASK] [MASK]; a [MASK]", ["man", "tie", "woman"]),
        ("nothing of the kind", "nothing of the kind", []),
        ("", "", []),
        ("glasses on glass", "[MASK] on [MASK]", ["glass", "glass"]),
    ],
)
def test_words_in_their_place(caption, masked, found):
    assert MASKER(caption) == (masked, found)


def test_plurals_are_those_of_the_corpus_where_there_is_one_else_of_the_table():
    assert Masker(["mouse"])("three mice") == ("three [MASK]", ["mouse"])
    assert Masker(["mouse"], {"mice": "mouse"})("three mice") == ("three [MASK]", ["mouse"])
    assert Masker(["run"], {"dogs": "dog"})("it runs") == ("it runs", [])  # a verb of the corpus
    masker = Masker(["people"], {"dogs": "dog"})
    assert masker("men and boys", ["people"]) == ("[MASK] and [MASK]", ["people", "people"])


@pytest.mark.parametrize(
    ("caption", "masked", "found"),
    [
        ("a red fire hydrant", "a red [MASK]", ["fire hydrant"]),
        ("Fire-Hydrants burn", "[MASK] burn", ["fire hydrant"]),
        ("a dog-friendly bar", "a [MASK]-friendly bar", ["dog"]),
        ("the dog\u2019s hot dogs", "the [MASK] [MASK]", ["dog", "hot dog"]),
        ("playing cards, beards, pants", "playing cards, beards, pants", []),
        ("cafe\u0301 car\u00e9", "[MASK] car\u00e9", ["caf\u00e9"]),
    ],
)
def test_what_is_masked_is_what_the_vocabulary_names(caption, masked, found):
    words = ("fire hydrant", "dog", "hot dog", "car", "bear", "pan", "caf\u00e9", "fire")
    assert Masker(words)(caption, words) == (masked, found)
    named = Vocabulary(words, None).match_captions([caption]).indices
    assert {words[n] for n in named} == set(found)


def test_what_is_chosen_is_masked_its_synonyms_too():
    masker = Masker(["people", "dog", "kite"])
    found = masker("A man, his dogs and kites", ["people", "kite"])
    assert found == ("A [MASK], his dogs and [MASK]", ["people", "kite"])
    assert masker("dogs", []) == ("dogs", [])


def test_at_most_so_many_the_first():
    assert MASKER("a dog, a cat, a dog", most=1) == ("a [MASK], a cat, a dog", ["dog"])
