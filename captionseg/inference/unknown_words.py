"""Labels that a model never saw in training, and the words of its training that are nearest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

NEAREST = 3  # words that are named
FEW = 5  # labels that are described one by one


def describe_unknown(
    labels: Sequence[str], folder: Path, embed: Callable[[Sequence[str]], np.ndarray]
) -> list[str]:
    """Describe each label that names no concept of a model's training, one line each; many of them
    in one line.

    Args:
        labels: of a picture.
        folder: of the model; without a list of concepts nothing is described.
        embed: [n] words -> [n, D] embeddings, as the model compares them.
    """
    from captionseg.inference.other_words import MOST, embed_normalised, read_concepts
    from captionseg.remarks import quote, quote_first
    from captionseg.text.vocabulary import Vocabulary

    known = read_concepts(folder)
    vocabulary = Vocabulary(tuple(known), None)
    unknown = [label for label in labels if not vocabulary.read(label)[1]]
    if not unknown or not known:
        return []
    if len(unknown) > FEW:
        return [
            f"labels: {len(unknown)} of {len(labels)} are not among the {len(known):,} concepts of "
            f"the model's training: {quote_first(unknown)}"
        ]
    vectors = embed_normalised([*unknown, *known[:MOST]], embed)
    own, others = vectors[: len(unknown)], vectors[len(unknown) :]
    nearest = np.argsort(-own @ others.T, axis=1, kind="stable")[:, :NEAREST]
    return [
        f"labels: {quote(label)} is not among the {len(known):,} concepts of the model's training; "
        f"the nearest of them are {', '.join(known[n] for n in row)}"
        for label, row in zip(unknown, nearest, strict=True)
    ]
