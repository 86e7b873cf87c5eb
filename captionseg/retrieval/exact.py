"""Exact search: one matrix product a chunk of queries. The reference that the others are tested
against.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Int64

from captionseg.retrieval.index import ALL_EFFORT, Effort


class ExactIndex:
    """The vectors themselves; key and effort are ignored."""

    exact = True

    def __init__(
        self,
        vectors: Float[np.ndarray, "row dim"],
        key: str | None = None,
        effort: Effort = ALL_EFFORT,
    ) -> None:
        self.vectors = np.ascontiguousarray(vectors, np.float32)

    def search(
        self, queries: Float[np.ndarray, "query dim"], k: int
    ) -> tuple[Float32[np.ndarray, "query {k}"], Int64[np.ndarray, "query {k}"]]:
        """See Index.search; equal similarities come in row order."""
        score = np.asarray(queries, np.float32) @ self.vectors.T
        count = min(k, score.shape[1])
        if not count:
            return np.full((len(score), k), -np.inf, np.float32), np.full((len(score), k), -1)
        # The k-th best score cuts the row; of those that equal it the first rows fill what is left.
        cut = -np.partition(-score, count - 1, axis=1)[:, count - 1 : count]
        above, tied = score > cut, score == cut
        first = np.cumsum(tied, 1) <= count - above.sum(1, keepdims=True)
        top = np.nonzero(above | (tied & first))[1].reshape(len(score), count)
        order = np.argsort(-np.take_along_axis(score, top, 1), axis=1, kind="stable")
        top = np.take_along_axis(top, order, 1)
        pad = ((0, 0), (0, k - count))
        score = np.take_along_axis(score, top, 1)
        return np.pad(score, pad, constant_values=-np.inf), np.pad(top, pad, constant_values=-1)
