"""Captions in chunks name what they name together."""

from __future__ import annotations

import pytest

from captionseg.storage.folders import count_rows
from captionseg.text import tagged_captions
from captionseg.text.corpus_vocabulary import build
from captionseg.text.vocabulary import VocabularyParams
from tests.captionseg.text.test_things import ALONE, CAPTIONS


def test_chunks_and_repeated_captions_change_nothing(monkeypatch, tmp_path) -> None:
    """As many captions of each kind in any order; what is tagged already is not tagged again."""
    captions = [*CAPTIONS, *ALONE] * 3
    whole = build(captions, VocabularyParams(minimum=6))
    every = [text for text in captions for _ in range(2)]
    assert whole == build(every, VocabularyParams(minimum=12))
    monkeypatch.setattr(tagged_captions, "CHUNK", 7)
    assert build(captions, VocabularyParams(minimum=6), folder=tmp_path) == whole
    files = sorted(tmp_path.iterdir())
    assert [count_rows(file) for file in files] == [7, 7, 7, 7, 7, 1]
    monkeypatch.setattr(tagged_captions, "tag", lambda *_: pytest.fail("tagged again"))
    assert build(captions, VocabularyParams(minimum=6), folder=tmp_path) == whole
