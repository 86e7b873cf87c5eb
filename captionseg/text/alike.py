"""Concepts that are not negatives of each other: words of one meaning, and the last words of
compounds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array

from captionseg.text.words import tokens

CHUNK = 1024  # concepts at once


def find_alike(
    concepts: Sequence[str], embedding: Float[np.ndarray, "C D"], deviations: float
) -> csr_array:
    """Find which concepts are alike: [C, C] bool, symmetric, each with itself.

    Two are alike if the cosine of their texts is so many deviations above the mean over all pairs
    (child and kid, man and guy, street and road), or if one is the end of the other (a swimming
    pool is a pool). The threshold is in deviations, as the cosines of encoders differ in scale:
    those of CLIP's texts are all above .6.

    Args:
        concepts: their names.
        embedding: of the prompted concepts, L2-normalised.
        deviations: above the mean; 0 finds only ends of compounds.
    """
    count, values = len(concepts), np.asarray(embedding, np.float32)
    rows, columns = find_ends(concepts)
    if deviations and count > 1:
        least = find_threshold(values, deviations)
        for start in range(0, count, CHUNK):
            row, column = np.nonzero(values[start : start + CHUNK] @ values.T >= least)
            rows, columns = np.append(rows, row + start), np.append(columns, column)
    both, other = np.r_[rows, columns, np.arange(count)], np.r_[columns, rows, np.arange(count)]
    return csr_array((np.ones(len(both), bool), (both, other)), shape=(count, count))


def find_threshold(embedding: Float[np.ndarray, "C D"], deviations: float) -> float:
    """The mean cosine over all pairs of at least two texts, plus so many deviations."""
    count = len(embedding)
    pairs = count * (count - 1)
    # moments of all pairs from the sum and the second moment of the vectors
    values = embedding.astype(np.float64)
    mean = (np.square(values.sum(0)).sum() - count) / pairs
    second = (np.square(values.T @ values).sum() - count) / pairs
    return float(mean + deviations * np.sqrt(max(second - mean**2, 0.0)))


def find_ends(concepts: Sequence[str]) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Numbers of compounds, and of the concepts that are their ends."""
    number = {tuple(tokens(concept)): i for i, concept in enumerate(concepts)}
    found = [
        (i, number[words[start:]])
        for words, i in number.items()
        for start in range(1, len(words))
        if words[start:] in number
    ]
    both = np.array(found, np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def widen(held: csr_array, alike: csr_array) -> csr_array:
    """Add to the concepts of N images those that are alike one of them.

    Args:
        held: [N, C], not 0 where an image has a concept.
        alike: of `find_alike`.

    Returns:
        [N, C], with the concepts of an image in ascending order.
    """
    wide = csr_array(held.astype(np.int32) @ alike.astype(np.int32))
    wide.sort_indices()
    return wide
