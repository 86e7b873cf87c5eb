"""Labels that training never saw are named, with the nearest concepts that it did."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from captionseg.inference.unknown_words import describe_unknown

VECTORS = {
    "dog": [1, 0, 0],
    "cat": [0.9, 0.1, 0],
    "grass": [0, 1, 0],
    "fire hydrant": [0, 0, 1],
    "wolf": [1, 0.05, 0],
}


def embed(words):
    return np.array([VECTORS[word] for word in words])


def folder(tmp_path: Path, *words: str) -> Path:
    (tmp_path / "concepts.txt").write_text("".join(f"{word}\n" for word in words))
    return tmp_path


def test_unknown_labels_are_named_with_their_nearest(tmp_path):
    model = folder(tmp_path, "grass", "cat", "dog", "fire hydrant")
    (line,) = describe_unknown(["dogs", "a fire-hydrant", "wolf"], model, embed)
    assert line == (
        "labels: 'wolf' is not among the 4 concepts of the model's training; the nearest of them "
        "are dog, cat, grass"
    )


def test_many_unknown_labels_are_one_line(tmp_path):
    labels = [f"thing {n}" for n in range(6)]
    (line,) = describe_unknown(["dog", *labels], folder(tmp_path, "dog", "cat"), embed)
    assert line == (
        "labels: 6 of 7 are not among the 2 concepts of the model's training: 'thing 0', "
        "'thing 1', 'thing 2', ..."
    )


def test_nothing_is_said_of_known_labels_or_of_a_model_without_a_list(tmp_path):
    def never(words):
        raise AssertionError("nothing need be embedded")

    assert describe_unknown(["wolf"], tmp_path, never) == []
    assert describe_unknown(["dog", "Cats"], folder(tmp_path, "dog", "cat"), never) == []
