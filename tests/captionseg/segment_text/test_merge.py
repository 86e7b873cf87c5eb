"""Texts of segments that became one."""

from captionseg.segment_text.merge import merge_texts


def test_texts_are_kept_once_with_their_best_score_and_counted() -> None:
    texts = [
        {"text": "A dog.", "kind": "phrase", "score": 0.3, "caption": 0, "count": 1},
        {"text": "cat", "kind": "concept", "score": 0.5, "caption": -1, "count": 2},
        {"text": "a  Dog", "kind": "expression", "score": 0.9, "caption": 1, "count": 1},
        {"text": "a dog", "kind": "phrase", "score": 0.9, "caption": 0, "count": 1},
    ]
    assert merge_texts(texts) == [{**texts[2], "count": 3}, texts[1]]
    assert merge_texts(texts[::-1]) == [{**texts[3], "count": 3}, texts[1]]  # the first of equals
    assert [text["count"] for text in texts] == [1, 2, 1, 1]
