"""Shared by rules: which concepts of the vocabulary an image gets, and their sampling weights."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, Int32, Shaped
from scipy.sparse import csr_array

# smallest log weight, 1e-30: every concept of an image can be drawn, in single precision too
FAINTEST = -69.0


def select(
    score: Float[np.ndarray, "n W"], own: Bool[np.ndarray, "n W"], limit: int, *, own_first: bool
) -> Int32[np.ndarray, "n M"]:
    """Per row the places of the `limit` best-scored concepts.

    Args:
        score: relevance of W concepts, the more frequent first; not finite where the image does
            not get one.
        own: does the row's own caption name it?
        limit: M.
        own_first: own concepts stand before all others and are never cut off by them.

    Returns:
        places from 0 to W - 1, best first, -1 pads. Ties go to the more frequent concept.
    """
    # in single precision the 1e6 would swallow the scores of own concepts
    key = np.where(np.isfinite(score), score, -np.inf).astype(np.float64)
    if own_first:
        key += np.where(own, 1e6, 0.0)
    width = key.shape[1]
    limit = min(limit, width)
    if not limit:
        return np.full((len(key), 0), -1, np.int32)
    last = np.partition(key, width - limit, axis=1)[:, width - limit]  # of those that may enter
    row, place = np.nonzero((key >= last[:, None]) & (key > -np.inf))
    order = np.lexsort((-key[row, place], row))  # stable: of equal ones the more frequent first
    count = np.bincount(row, minlength=len(key))
    return lay_out(place[order].astype(np.int32), count, -1, least=limit)[:, :limit]


def lay_out(
    values: Shaped[np.ndarray, " p"], count: Int[np.ndarray, " n"], fill: float, *, least: int = 0
) -> Shaped[np.ndarray, "n W"]:
    """Values of n rows, one row after the other, as a matrix as wide as the longest row.

    Args:
        values: of all rows.
        count: how many of them belong to each row.
        fill: stands after the values of a row.
        least: width of the matrix where no row is longer.
    """
    out = np.full((len(count), int(count.max(initial=least))), fill, values.dtype)
    out[np.arange(out.shape[1]) < count[:, None]] = values
    return out


def list_named(named: csr_array, limit: int) -> Int32[np.ndarray, "n M"]:
    """The `limit` most frequent concepts that each row of an [n, C] matrix names; -1 pads."""
    named = named.sorted_indices()
    return lay_out(named.indices.astype(np.int32), np.diff(named.indptr), -1)[:, :limit]


def take(
    matrix: Shaped[np.ndarray, "n W"], place: Int[np.ndarray, "n M"], fill: float
) -> Shaped[np.ndarray, "n M"]:
    """Values of a matrix at selected places, `fill` where there is none."""
    if not matrix.shape[1]:
        return np.full(place.shape, fill)
    return np.where(place >= 0, np.take_along_axis(matrix, np.maximum(place, 0), 1), fill)


def weigh(
    score: Float[np.ndarray, "n M"], certain: Bool[np.ndarray, "n M"], temperature: float
) -> Float[np.ndarray, "n M"]:
    """exp(score / temperature), the row's best at 1; 0 where the score is NaN.

    Args:
        score: of selected concepts, NaN pads.
        certain: drawn like the best.
        temperature: above 0.
    """
    best = np.max(np.where(np.isnan(score), -np.inf, score), axis=1, keepdims=True, initial=-np.inf)
    raised = np.where(certain, best, score)
    return np.where(
        np.isnan(score), 0.0, np.exp(np.maximum((raised - best) / temperature, FAINTEST))
    )
