"""The vocabulary of a corpus; test_vocabulary and test_things have what it is made of."""

from __future__ import annotations

import pytest

from captionseg.records import UserError
from captionseg.text.corpus_vocabulary import build
from captionseg.text.vocabulary import VocabularyParams


def test_nothing_frequent_enough_is_one_line():
    with pytest.raises(
        UserError, match=r"no noun occurs in 9 of 2 captions; lower curate\.vocabulary\.minimum"
    ):
        build(["a dog", "a cat"], VocabularyParams(minimum=9))


def test_a_caption_beyond_the_parser_is_cut_and_said(caplog):
    long = "a dog on the grass. " + "x" * 1_000_001
    assert build([long, "a dog"], VocabularyParams(minimum=2)).concepts == ("dog",)
    assert "1 captions are longer than 50000 characters (the longest has 1000021)" in caplog.text


def test_a_file_without_a_concept_is_one_line(tmp_path):
    (tmp_path / "empty").write_text("# nothing yet\n")
    with pytest.raises(UserError, match=r"curate.vocabulary.file: .*empty contains no concepts"):
        build(["a dog"], VocabularyParams(file=str(tmp_path / "empty")))
