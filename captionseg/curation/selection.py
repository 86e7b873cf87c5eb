"""Shared by rules: which concepts of the vocabulary an image gets, and their sampling weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Bool, Float, Int, Int32, Shaped

from captionseg.records import Corpus
from captionseg.supervision.columns import Supervision, join

# smallest log weight, 1e-30: every concept of an image can be drawn, in single precision too
FAINTEST = -69.0


def curate_chunks(
    rule: str,
    corpus: Corpus,
    supervision: Supervision,
    chunk: int,
    columns: Callable[[np.ndarray], Mapping[str, np.ndarray]],
) -> Supervision:
    """The supervision by a rule that looks at `chunk` images at once.

    Args:
        rule: its name.
        corpus: whose images.
        supervision: of them, so far.
        chunk: memory is bounded by chunk x (concepts of the vocabulary).
        columns: rows of the corpus -> their `concept` and other columns of a Supervision, [n, M].
    """
    chunks = []
    for start in range(0, len(corpus), chunk):
        rows = np.arange(start, min(start + chunk, len(corpus)))
        before = supervision.take(rows)
        chunks.append(
            before.with_concepts(rule=rule, vocabulary=corpus.vocabulary, **columns(rows))
        )
    return join(chunks)


def select(
    score: Float[np.ndarray, "n C"], own: Bool[np.ndarray, "n C"], limit: int, *, own_first: bool
) -> Int32[np.ndarray, "n M"]:
    """Per row the `limit` best-scored concepts.

    Args:
        score: relevance, -inf where the image does not get a concept.
        own: does the row's own caption name it?
        limit: M.
        own_first: own concepts stand before all others and are never cut off by them.

    Returns:
        Concept indices, best first, -1 pads. Ties go to the more frequent concept.
    """
    # in single precision the 1e6 would swallow the scores of own concepts
    score = score.astype(np.float64)
    key = np.where(own & np.isfinite(score), score + 1e6, score) if own_first else score
    limit = min(limit, score.shape[1])
    order = np.argsort(-key, axis=1, kind="stable")[:, :limit]
    return np.where(np.isfinite(np.take_along_axis(key, order, 1)), order, -1).astype(np.int32)


def select_named(named: Bool[np.ndarray, "n C"], limit: int) -> Int32[np.ndarray, "n M"]:
    """The concepts that are named, the most frequent of the corpus first, as `select`."""
    return select(np.where(named, 1.0, -np.inf), named, limit, own_first=False)


def take(
    matrix: Shaped[np.ndarray, "n C"], concept: Int[np.ndarray, "n M"], fill: float
) -> Shaped[np.ndarray, "n M"]:
    """Values of a matrix at selected concepts, `fill` where there is none."""
    return np.where(concept >= 0, np.take_along_axis(matrix, np.maximum(concept, 0), 1), fill)


def weigh(
    score: Float[np.ndarray, "n M"], certain: Bool[np.ndarray, "n M"], temperature: float
) -> Float[np.ndarray, "n M"]:
    """exp(score / temperature), the row's best at 1; 0 where the score is NaN.

    Args:
        score: of selected concepts, NaN pads.
        certain: drawn like the best.
        temperature: above 0.
    """
    best = np.max(np.where(np.isnan(score), -np.inf, score), axis=1, keepdims=True)
    raised = np.where(certain, best, score)
    return np.where(
        np.isnan(score), 0.0, np.exp(np.maximum((raised - best) / temperature, FAINTEST))
    )
