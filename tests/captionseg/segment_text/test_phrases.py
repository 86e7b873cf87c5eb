"""Where phrases come from, and that each is asked for once."""

from pathlib import Path

import pytest

from captionseg.records import SUPERVISION, Concept, Supervision, UserError
from captionseg.segment_text.phrases import Phrase, normalised, phrases_of, read_concepts
from captionseg.storage import write_table


@pytest.mark.parametrize(("text", "want"), [("A  Dog.", "a dog"), (" the end. ", "the end"), ("...", "")])
def test_normalised(text: str, want: str) -> None:
    assert normalised(text) == want


def test_caption_phrases_come_first_and_equal_texts_once() -> None:
    found = phrases_of(["x", "y"], [["dog", "grass"], []], chunks=lambda _: [["Dog", "a  red ball", "."], ["a cat"]])
    assert found == [
        [Phrase("Dog", "phrase"), Phrase("a red ball", "phrase"), Phrase("grass", "concept")],
        [Phrase("a cat", "phrase")],
    ]


def test_a_phrase_whose_head_names_nothing_is_left_out() -> None:
    chunks = [["A picture", "the front of a car", "the front", "a picture frame"]]
    found = phrases_of(["x"], [["front"]], chunks=lambda _: chunks, stop={"picture", "front"})
    assert [p.text for p in found[0]] == ["the front of a car", "a picture frame", "front"]


def test_concepts_of_kept_rows_best_first(tmp_path: Path) -> None:
    rows = [(Concept("dog"), Concept("grass"), Concept("sky")), (Concept("cat"),), ()]
    supervision = Supervision(["a", "b", "c"], [True, False, True], ["", "duplicate", ""], rows)
    write_table(supervision.to_table(), tmp_path / "cocu" / "00000.parquet")
    assert SUPERVISION.equals(supervision.to_table().schema)
    assert read_concepts(tmp_path, "cocu", 2) == {"a": ["dog", "grass"], "c": []}
    with pytest.raises(UserError, match=r"segment_text.curation: no supervision of 'coco'.*\(there: cocu\)"):
        read_concepts(tmp_path, "coco", 2)
