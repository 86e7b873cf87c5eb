"""Referring expressions on parses written by hand: what a model makes of a caption is data, not the
rule.
"""

import pytest
import spacy
from spacy.tokens import Doc

from captionseg.records import UserError
from captionseg.text.referring import (
    Mention,
    Reference,
    expand_chunk,
    find_references,
    parse_references,
)

VOCAB = spacy.blank("en").vocab
POS = {
    "D": "DET",
    "N": "NOUN",
    "A": "ADJ",
    "V": "VERB",
    "P": "ADP",
    "C": "CCONJ",
    ".": "PUNCT",
    "R": "PRON",
}
TAGS = {"D": "DT", "N": "NN", "A": "JJ", "V": "VBZ", "P": "IN", "C": "CC", ".": ".", "R": "PRP"}


def parsed(table: str) -> Doc:
    """A Doc of rows "word kind dependency head"; a word with "_" before it has no space before
    it."""
    rows = [line.split() for line in table.strip().splitlines()]
    glued = [word.startswith("_") for word, *_ in rows] + [True]
    return Doc(
        VOCAB,
        words=[word.removeprefix("_") for word, *_ in rows],
        spaces=[not g for g in glued[1:]],
        pos=[POS[kind] for _, kind, *_ in rows],
        tags=[TAGS[kind] for _, kind, *_ in rows],
        deps=[dep for *_, dep, _ in rows],
        heads=[int(head) for *_, head in rows],
    )


# the paper's example (figure 3) with the paper's attachment: "at" and "and" hang on the first "is"
RABBIT = """
There D expl 1
is V ROOT 1
an D det 6
orange A amod 5
_- . punct 5
_red A amod 6
apple N attr 1
at P prep 1
the D det 10
right A amod 10
side N pobj 7
of P prep 10
the D det 13
rabbit N pobj 11
and C cc 1
there D expl 16
is V conj 1
another D det 19
red A amod 19
apple N attr 16
visible A amod 19
behind P prep 20
the D det 23
rabbit N pobj 21
_. . punct 16
"""


def pairs(doc: Doc, **how) -> list[tuple[str, str]]:
    return [(found.phrase, found.expression) for found in find_references(doc, **how)]


def test_the_papers_apples_and_rabbit():
    doc = parsed(RABBIT)
    assert doc.text == (
        "There is an orange-red apple at the right side of the rabbit and there is another red "
        "apple visible behind the rabbit."
    )
    assert pairs(doc) == [
        ("an orange-red apple", "an orange-red apple"),
        ("the right side", "the right side of the rabbit"),
        ("the rabbit", "the rabbit"),
        ("another red apple", "another red apple visible behind the rabbit"),
    ]


def test_places_are_characters_and_every_mention_is_kept():
    doc = parsed(RABBIT)
    _, side, rabbit, other = find_references(doc)
    assert side.mentions == (Mention((32, 46), (32, 60)),)
    assert rabbit.mentions == (Mention((50, 60), (50, 60)), Mention((107, 117), (107, 117)))
    assert other.mentions == (Mention((74, 91), (74, 117)),)
    for found in find_references(doc):
        for mention in found.mentions:
            assert doc.text[slice(*mention.phrase)] == found.phrase
            assert doc.text[slice(*mention.expression)] == found.expression


def test_phrase_and_expression_are_both_texts_and_equal_ones_are_one():
    assert Reference("a dog", "a dog in a field", ()).texts == ("a dog", "a dog in a field")
    assert Reference("a dog", "a dog", ()).texts == ("a dog",)


def test_with_the_other_attachment_the_apple_is_at_the_side():
    doc = parsed(RABBIT.replace("at P prep 1", "at P prep 6"))
    assert pairs(doc)[0] == (
        "an orange-red apple",
        "an orange-red apple at the right side of the rabbit",
    )


def test_what_is_coordinated_is_not_said_of_the_first_but_deeper_coordination_stays():
    ears = """
    pink A amod 1
    ears N ROOT 1
    and C cc 1
    a D det 4
    face N conj 1
    with P prep 4
    eyes N pobj 5
    and C cc 6
    teeth N conj 6
    """
    assert pairs(parsed(ears)) == [
        ("pink ears", "pink ears"),
        ("a face", "a face with eyes and teeth"),
        ("eyes", "eyes"),
        ("teeth", "teeth"),
    ]


def test_it_stops_at_a_gap_and_drops_what_is_loose_at_the_end():
    photo = """
    A D det 1
    photo N ROOT 1
    of P prep 1
    a D det 4
    man N pobj 2
    _, . punct 1
    standing V acl 1
    """
    assert pairs(parsed(photo)) == [("A photo", "A photo of a man"), ("a man", "a man")]
    loose = parsed("Dogs N ROOT 0\nrunning V acl 0\n_, . punct 1\nand C cc 1\n_. . punct 0")
    assert expand_chunk(next(iter(loose.noun_chunks))).text == "Dogs running"


def test_punctuation_of_the_chunk_itself_is_not_cut():
    doc = parsed("Mr N compound 1\nX. N ROOT 1\n_! . punct 1")
    chunk = doc[0:2]
    assert expand_chunk(chunk).text == "Mr X."
    assert expand_chunk(parsed("a D det 1\n_! . ROOT 1")[0:2]).text == "a!"


def test_an_expression_may_begin_before_its_chunk():
    doc = parsed("half N dep 2\nhere A advmod 2\nDogs N ROOT 2\nrun V acl 2")
    assert expand_chunk(doc[2:3]).text == "here Dogs run"


def test_pronouns_are_left_out_and_so_is_what_one_skips():
    doc = parsed(
        "It R nsubj 1\nshows V ROOT 1\nthe D det 3\nside N dobj 1\nof P prep 3\nDogs N pobj 4"
    )
    assert pairs(doc) == [("the side", "the side of Dogs"), ("Dogs", "Dogs")]
    assert pairs(doc, skip={"side"}) == [("Dogs", "Dogs")]


def test_case_does_not_make_a_new_pair_but_another_expression_does():
    doc = parsed("""
    Dogs N ROOT 0
    _. . punct 0
    dogs N ROOT 2
    _. . punct 2
    dogs N ROOT 4
    outside A advmod 4
    """)
    first, second = find_references(doc)
    assert (first.phrase, first.mentions) == (
        "Dogs",
        (Mention((0, 4), (0, 4)), Mention((6, 10), (6, 10))),
    )
    assert (second.phrase, second.expression, len(second.mentions)) == ("dogs", "dogs outside", 1)


def test_a_missing_piece_of_the_pipeline_is_one_line_and_not_silence():
    words, heads, deps = ["a", "dog"], [1, 1], ["det", "ROOT"]
    untagged = Doc(VOCAB, words=words, heads=heads, deps=deps)
    assert not list(untagged.noun_chunks)  # the silence
    with pytest.raises(
        UserError, match=r"no parts of speech \(tagger and attribute_ruler\), so no noun chunks"
    ):
        find_references(untagged)
    with pytest.raises(UserError, match=r"no dependencies \(parser\), so no noun chunks"):
        find_references(Doc(VOCAB, words=words, pos=["DET", "NOUN"]))
    with pytest.raises(UserError, match=r"parts of speech .* and no dependencies") as caught:
        find_references(spacy.blank("en")("a dog"))
    assert "\n" not in str(caught.value)


def test_a_language_without_noun_chunks_is_one_line():
    doc = Doc(spacy.blank("xx").vocab, words=["dog"], pos=["NOUN"], heads=[0], deps=["ROOT"])
    with pytest.raises(UserError, match="no noun chunks for language 'xx'"):
        find_references(doc)


def test_an_empty_caption_speaks_of_nothing():
    assert find_references(Doc(VOCAB)) == []


def test_captions_go_through_the_packaged_pipeline():
    found = list(parse_references(["A dog in a field of flowers", ""], skip=["field"]))
    assert [(r.phrase, r.expression) for r in found[0]] == [
        ("A dog", "A dog in a field of flowers"),
        ("flowers", "flowers"),
    ]
    assert found[1] == []
