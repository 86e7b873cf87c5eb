"""The published entities, every one of them, and masked captions."""

import pytest

from captionseg.text.entities import MASK, PERSONS, PUBLISHED, SYNONYMS, mask, merged


def test_the_list_and_what_is_left_when_synonyms_are_merged():
    assert len(PUBLISHED) == len(set(PUBLISHED)) == 99  # the paper's 100 hold both tv and TV
    assert len(PERSONS) == 17
    assert len({merged(e) for e in PUBLISHED}) == 73
    assert set(SYNONYMS) <= set(PUBLISHED)
    assert set(SYNONYMS.values()) <= set(PUBLISHED)


@pytest.mark.parametrize("entity", PUBLISHED)
@pytest.mark.parametrize("caption", ["A photo of a {}.", "{}, seen from above", "the '{}' on a hill", "{} {}"])
def test_every_entity_is_masked_wherever_it_stands(entity, caption):
    for word in (entity, entity.upper(), entity.capitalize()):
        masked, found = mask(caption.replace("{}", word), PUBLISHED)
        assert masked == caption.replace("{}", MASK)
        assert found == [merged(entity)]


@pytest.mark.parametrize(
    ("caption", "masked", "found"),
    [
        ("two dogs and a bus", "two [MASK] and a [MASK]", ["dog", "bus"]),
        ("buses, sandwiches & babies", "[MASK], [MASK] & [MASK]", ["bus", "sandwich", "people"]),
        ("a carpet is no car", "a carpet is no [MASK]", ["car"]),
        ("A man's tie; a woman", "A [MASK] [MASK]; a [MASK]", ["people", "tie"]),
        ("nothing of the kind", "nothing of the kind", []),
        ("", "", []),
        ("glasses on glass", "[MASK] on [MASK]", ["glass"]),
    ],
)
def test_words_in_their_place(caption, masked, found):
    assert mask(caption, PUBLISHED) == (masked, found)


def test_irregular_plurals_are_those_of_the_corpus():
    assert mask("three mice", ["mouse"]) == ("three mice", [])
    assert mask("three mice", ["mouse"], {"mice": "mouse"}) == ("three [MASK]", ["mouse"])
