"""Texts of segments that became one."""

from captionseg.segment_text.merge import merged_texts


def test_texts_are_kept_once_with_their_best_score() -> None:
    texts = [
        {"text": "A dog.", "kind": "phrase", "score": 0.3},
        {"text": "cat", "kind": "concept", "score": 0.5},
        {"text": "a  Dog", "kind": "phrase", "score": 0.9},
    ]
    assert merged_texts(texts) == [texts[2], texts[1]]
