"""Rivals of labels: words for what is none of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from captionseg.inference.other_words import find_rivals, read_concepts

KNOWN = ["dog", "cat", "sheep", "car", "road", "sky", "ball", "tennis ball"]
VECTORS = {
    "dog": [1, 0.2, 0, 0, 0, 0],
    "cat": [1, 0, 0.2, 0, 0, 0],
    "sheep": [1, 0, 0, 0.2, 0, 0],
    "animal": [1, 0, 0, 0, 0, 0],
    "car": [0, 1, 0, 0, 0, 0],
    "road": [0, 0, 1, 0, 0, 0],
    "sky": [0, 0, 0, 1, 0, 0],
    "ball": [0, 0, 0, 0, 1, 0],
    "tennis ball": [0, 0, 0, 0, 0, 1],
    "balls": [0, 0, 0, 0, 0, 2],
    "dogs": [0, 0, 0, 0, 0, -1],
}


def embed(words: list[str]) -> np.ndarray:
    return np.array([VECTORS[word] for word in words])


def test_a_kind_of_the_label_is_no_rival() -> None:
    """Of 28 pairs of words, three are animals with cosines of .96, the others below .2."""
    assert find_rivals(["animal"], KNOWN, embed) == ["car", "road", "sky", "ball", "tennis ball"]
    everything = find_rivals(["animal"], KNOWN, embed, deviations=np.inf)
    assert everything == KNOWN


def test_a_label_is_no_rival_of_itself_in_whatever_form() -> None:
    assert "dog" not in find_rivals(["dogs"], KNOWN, embed)
    assert "cat" in find_rivals(["dogs"], KNOWN, embed)


def test_compounds_and_their_words_are_no_rivals() -> None:
    assert "tennis ball" not in find_rivals(["ball"], KNOWN, embed, deviations=np.inf)
    assert "ball" not in find_rivals(["tennis ball"], KNOWN, embed, deviations=np.inf)


def test_without_two_known_words_there_is_none() -> None:
    assert find_rivals(["dog"], [], embed) == []
    assert find_rivals(["dog"], ["car"], embed) == []


def test_concepts_are_read_from_the_folder_of_a_model(tmp_path: Path) -> None:
    assert read_concepts(tmp_path) == []
    (tmp_path / "concepts.txt").write_text("dog\n\nfire hydrant \n", encoding="utf-8")
    assert read_concepts(tmp_path) == ["dog", "fire hydrant"]
