"""Where phrases come from, and that each is asked for once."""

import pytest

from captionseg.segment_text.phrases import CaptionPhrases, Phrase, collect_phrases, normalise_text
from captionseg.text.referring import Mention, Reference, parse_references


@pytest.mark.parametrize(
    ("text", "want"), [("A  Dog.", "a dog"), (" the end. ", "the end"), ("...", "")]
)
def test_normalised(text: str, want: str) -> None:
    assert normalise_text(text) == want


def said(phrase: str, expression: str = "", *starts: int) -> Reference:
    """A reference with these mentions; they end where the phrase does."""
    whole = expression or phrase
    return Reference(
        phrase,
        whole,
        tuple(Mention((s, s + len(phrase)), (s, s + len(whole))) for s in starts or (0,)),
    )


def test_caption_phrases_come_first_and_equal_texts_once() -> None:
    spoken = [[said("Dog"), said("a  red ball"), said(".")], [said("a cat")]]
    found = collect_phrases(
        [["x"], ["y"]], [["dog", "Grass", "grass", ""], []], references=lambda _: spoken
    )
    assert [
        [(said.text, [(p.text, p.kind, p.caption) for p in said.phrases]) for said in row]
        for row in found
    ] == [
        [("x", [("Dog", "phrase", 0), ("a red ball", "phrase", 0), ("Grass", "concept", -1)])],
        [("y", [("a cat", "phrase", 0)])],
    ]


def test_each_caption_has_its_phrases_and_the_first_the_concepts_that_none_names() -> None:
    heard = []

    def references(captions):
        heard.extend(captions)
        return [[said(f"a {caption}"), said("a dog")] for caption in captions]

    found = collect_phrases([["x", "y"], ["z"]], [["a y", "sky"], ["a z"]], references=references)
    assert heard == ["x", "y", "z"]
    assert found == [
        [
            CaptionPhrases(
                "x", (phrase("a x"), phrase("a dog"), Phrase("sky", "concept", caption=-1))
            ),
            CaptionPhrases("y", (phrase("a y", 1), phrase("a dog", 1))),
        ],
        [CaptionPhrases("z", (phrase("a z"), phrase("a dog")))],
    ]


def phrase(text: str, caption: int = 0) -> Phrase:
    return Phrase(text, "phrase", spans=((0, len(text)),), caption=caption)


def test_equal_phrases_with_other_expressions_are_others_unless_expressions_are_off() -> None:
    spoken = [
        [
            said("a dog", "a dog in  the grass", 0),
            said("A Dog", "A dog.", 40),
            said("A dog", "", 60),
        ]
    ]
    ((found,),) = collect_phrases([["x"]], [[]], references=lambda _: spoken)
    assert found.phrases == (
        Phrase("a dog", "phrase", "a dog in the grass", ((0, 5),)),
        Phrase("A Dog", "phrase", "", ((40, 45), (60, 65))),
    )
    ((plain,),) = collect_phrases(
        [["x"]], [["a dog"]], references=lambda _: spoken, expressions=False
    )
    assert plain.phrases == (Phrase("a dog", "phrase", "", ((0, 5), (40, 45), (60, 65))),)


def test_phrase_and_expression_are_two_texts_of_one_score() -> None:
    assert Phrase("a dog", "phrase", "a dog in the grass", caption=1).texts(0.5) == [
        {"text": "a dog", "kind": "phrase", "score": 0.5, "caption": 1, "count": 1},
        {
            "text": "a dog in the grass",
            "kind": "expression",
            "score": 0.5,
            "caption": 1,
            "count": 1,
        },
    ]
    assert Phrase("dog", "concept", caption=-1).texts(0.5) == [
        {"text": "dog", "kind": "concept", "score": 0.5, "caption": -1, "count": 1}
    ]


def test_mentions_are_places_in_the_caption() -> None:
    caption = "A dog lies in the grass. It is red, and a dog sleeps."
    ((found,),) = collect_phrases(
        [[caption]], [["dog", "tree"]], references=parse_references, stop={"grass"}
    )
    assert [p.text for p in found.phrases] == ["A dog", "dog", "tree"]  # "It" is a pronoun
    assert [caption[a:b] for a, b in found.phrases[0].spans] == ["A dog", "a dog"]


def test_a_phrase_whose_head_names_nothing_is_left_out() -> None:
    spoken = [
        [
            said("A picture", "A picture of a dog"),
            said("the front"),
            said("a picture frame", "a picture frame in front"),
        ]
    ]
    ((found,),) = collect_phrases(
        [["x"]], [["front"]], references=lambda _: spoken, stop={"picture", "front"}
    )
    assert [p.text for p in found.phrases] == ["a picture frame", "front"]
