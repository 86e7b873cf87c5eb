"""Captions of a corpus, and what they name."""

from __future__ import annotations

from scipy.sparse import csr_array

from captionseg.text import matching
from captionseg.text.vocabulary import Vocabulary


def test_equal_captions_are_matched_once(monkeypatch) -> None:
    vocabulary, seen = Vocabulary(("dog", "cat"), {"dogs": "dog"}), []
    real = Vocabulary.match_captions

    def match(self: Vocabulary, captions: list[str]) -> csr_array:
        seen.extend(captions)
        return real(self, captions)

    monkeypatch.setattr(Vocabulary, "match_captions", match)
    monkeypatch.setattr(matching, "CHUNK", 2)
    captions = ["a dog", "", "dogs and a cat", "a dog", "", "a cat", "dogs and a cat"]
    named = matching.match_corpus(vocabulary, captions)
    assert seen == ["a dog", "", "dogs and a cat", "a cat"]
    assert named.toarray().tolist() == real(vocabulary, captions).toarray().tolist()
    assert matching.match_corpus(vocabulary, []).shape == (0, 2)
