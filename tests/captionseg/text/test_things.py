"""Concepts are things: nouns by their part of speech, compounds, and what is said in the plural."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from captionseg.text.corpus_vocabulary import build
from captionseg.text.noun_extraction import Token
from captionseg.text.tagged_captions import Rows
from captionseg.text.things import (
    ThingParams,
    count_words,
    find_compounds,
    find_things,
    merge_counts,
)
from captionseg.text.vocabulary import Vocabulary, VocabularyParams

CAPTIONS = [
    "a dog in a red life jacket swims in a lake",
    "two men in life jackets paddle a boat",
    "a child with a life-jacket on a boat",
    "a girl jumps into a swimming pool",
    "three children play in a swimming pool",
    "boys are swimming in a lake",
    "a man is swimming near a boat",
    "a red car stops at a traffic light",
    "people wait at the traffic lights",
    "a bus passes a traffic light at night",
    "a woman in red shorts runs on a beach",
    "a man in blue jeans and red shorts",
    "a boy in jeans plays with a ball",
    "a girl in glasses reads a book",
    "an old man with glasses drinks water",
    "two dogs run on a beach",
    "dogs play with a red ball",
    "a dog runs after a ball",
    "a boy rides a bike down a street",
    "people ride bikes on a street",
    "a girl jumps over a rope",
    "the boy plays football on a field",
    "a man throws a ball to a dog",
    "a woman rides a horse on a field",
    "a horse runs across a field",
    "men play football on a beach",
    "a woman sits on a bench by a lake",
    "a child plays on a bench",
    "a greyhound racing",
    "a red boat",
]
ALONE = [
    "a jacket on a chair",
    "a boy in a jacket",
    "a pool",
    "a pool of water",
    "a lamp",
    "a light",
]


def make(**changed: object) -> Vocabulary:
    return build(CAPTIONS, VocabularyParams(minimum=2, **changed))


def test_thirty_captions() -> None:
    concepts = set(make().concepts)
    assert concepts >= {"jacket", "pool", "light"}  # there are no other ones
    assert not concepts & {"life", "swimming", "traffic"}
    assert not concepts & {"red", "run", "play", "jump", "ride"}
    assert concepts >= {"shorts", "jeans", "glasses"}
    assert not concepts & {"short", "jean", "glass"}
    assert concepts >= {"dog", "boat", "man", "woman", "child", "ball", "horse", "bench"}


def test_a_compound_is_a_concept_beside_its_last_word() -> None:
    concepts = set(build(CAPTIONS + ALONE, VocabularyParams(minimum=2)).concepts)
    assert concepts >= {"life jacket", "jacket", "swimming pool", "pool", "light"}
    assert not concepts & {"life", "swimming", "traffic", "traffic light"}  # one light alone


def test_a_caption_names_the_compound_and_not_its_words() -> None:
    vocabulary = build([*CAPTIONS, *ALONE, "a light"], VocabularyParams(minimum=2))

    def names(caption: str) -> set[str]:
        return {vocabulary.concepts[match.number] for match in vocabulary.read(caption)[1]}

    assert names(CAPTIONS[2]) == {"child", "life jacket", "boat"}
    assert names("two traffic lights") == {"traffic light"}
    assert names("life in a jacket") == {"jacket"}


def test_each_can_be_switched_off() -> None:
    assert {"life", "jacket", "traffic", "light"} <= set(make(compound=1).concepts)
    assert "greyhound" in make().concepts
    assert "greyhound" not in make(keep_rows=False).concepts


def test_every_row_with_a_noun_keeps_it() -> None:
    named = make().match_captions(CAPTIONS)
    assert named.sum(1).min() >= 1
    assert (make(keep_rows=False).match_captions(CAPTIONS).sum(1) == 0).sum() == 1


def noun(word: str, *, adjoins: bool = True) -> Token:
    return Token(word, word, True, False, adjoins)


def verb(word: str) -> Token:
    return Token(word, word, False, False, True)


def test_a_word_is_a_concept_if_half_of_its_captions_have_it_as_a_noun() -> None:
    rows = [[noun("watch")], [verb("watch")], [noun("orange")], [verb("orange")], [verb("orange")]]

    def map_rows(work: Callable[[Rows], Any]) -> list[Any]:
        return [work([(row, 1)]) for row in rows]

    found = find_things(map_rows, ThingParams(1, 0.5, 1, True), set())
    assert found.concepts == ("watch",)
    found = find_things(map_rows, ThingParams(1, 0.0, 1, True), set())
    assert found.concepts == ("orange", "watch")


def test_mutual_information_by_hand() -> None:
    """Of 10 words 2 are hot dog, and dog stands once more alone: ln(2 10 / (2 3)) / ln(10 / 2)."""
    rows = [([noun("hot"), noun("dog")], 2), ([noun("dog")], 1), ([verb("x")], 5)]
    counts = merge_counts([count_words(rows[:1]), count_words(rows[1:])])
    value = math.log(20 / 6) / math.log(5)
    lemma = {"hot": "hot", "dog": "dog"}
    for least, found in ((value - 1e-9, {("hot", "dog")}), (value + 1e-9, set())):
        assert find_compounds(counts, lemma, ThingParams(2, 0.5, least, True), set()) == found
    assert not find_compounds(counts, lemma, ThingParams(3, 0.5, 0.1, True), set())
    assert not find_compounds(counts, lemma, ThingParams(2, 0.5, 0.1, True), {"dog"})


@pytest.mark.parametrize("caption", ["hot, dog", "hot and dog"])
def test_words_that_are_apart_are_no_compound(caption: str) -> None:
    captions = [caption] * 6 + ["a cat"] * 6
    assert not [c for c in build(captions, VocabularyParams(minimum=2)).concepts if " " in c]
