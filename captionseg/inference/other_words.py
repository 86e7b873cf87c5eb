"""Words of a model's training: what it knows, and which of them compete with what is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from captionseg.text.alike import find_threshold
from captionseg.text.lemmas import find_singulars
from captionseg.text.words import tokens

FILE = "concepts.txt"
MOST = 2000  # words of training that are compared, the most frequent ones
DEVIATIONS = 0.5
"""A word that is nearer to a label than this is no rival of it; chosen by tests.soak.others."""

Embed = Callable[[Sequence[str]], np.ndarray]


def read_concepts(folder: Path) -> list[str]:
    """Read the concepts of a model's training, the most frequent first; empty if unknown."""
    path = folder / FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [line.strip() for line in lines if line.strip()]


def embed_normalised(words: Sequence[str], embed: Embed) -> Float[np.ndarray, "n D"]:
    """Return the L2-normalised embeddings of words."""
    vectors = np.asarray(embed(words), np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def find_rivals(
    labels: Sequence[str], concepts: Sequence[str], embed: Embed, *, deviations: float = DEVIATIONS
) -> list[str]:
    """Find the words that something in a picture may be if it is none of the labels.

    A word of training is a rival unless it means much the same as a label, or a kind of it: if they
    share a word (ball and tennis ball), or if the cosine of their texts is `deviations` above the
    mean over all pairs of concepts (animal and cow). A pixel that fits a rival best is none of the
    labels.

    Args:
        labels: that are asked for.
        concepts: see `read_concepts`.
        embed: [n] words -> [n, D] embeddings, as the model compares them.
        deviations: how far above the mean.
    """
    known = list(concepts[:MOST])
    if len(known) < 2:
        return []
    vectors = embed_normalised([*labels, *known], embed)
    asked, vectors = vectors[: len(labels)], vectors[len(labels) :]
    near = (asked @ vectors.T).max(0) >= find_threshold(vectors, deviations)
    words = {
        form for label in labels for word in tokens(label) for form in (word, *find_singulars(word))
    }
    return [
        word
        for word, is_near in zip(known, near, strict=True)
        if not is_near and not words & set(tokens(word))
    ]
