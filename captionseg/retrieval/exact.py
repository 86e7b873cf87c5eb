"""Exact search by matrix products; the reference for tests of other indexes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int64

from captionseg.arrays import Rows
from captionseg.retrieval.index import ALL_EFFORT, AUTO, MEMORY, Effort
from captionseg.storage.reading import read_array
from captionseg.storage.writing import write_array


class ExactIndex:
    """An index that compares queries with all vectors. See Index.

    Args:
        vectors: rows of the index.
        key, effort, memory: ignored.
    """

    exact = True

    def __init__(
        self,
        vectors: Rows | Float[np.ndarray, "row dim"],
        key: str = AUTO,
        effort: Effort = ALL_EFFORT,
        *,
        memory: float = MEMORY,
    ) -> None:
        self.vectors = Rows.of(vectors)[np.arange(len(vectors))]

    def search(
        self, queries: Float[np.ndarray, "query dim"], k: int
    ) -> tuple[Float32[np.ndarray, "query {k}"], Int64[np.ndarray, "query {k}"]]:
        """See Index; equal similarities are in row order."""
        score = np.asarray(queries, np.float32) @ self.vectors.T
        count = min(k, score.shape[1])
        if not count:
            return np.full((len(score), k), -np.inf, np.float32), np.full((len(score), k), -1)
        # All rows above the k-th best score are results; of rows with this score, the first ones.
        cut = -np.partition(-score, count - 1, axis=1)[:, count - 1 : count]
        above, tied = score > cut, score == cut
        first = np.cumsum(tied, 1) <= count - above.sum(1, keepdims=True)
        top = np.nonzero(above | (tied & first))[1].reshape(len(score), count)
        order = np.argsort(-np.take_along_axis(score, top, 1), axis=1, kind="stable")
        top = np.take_along_axis(top, order, 1)
        pad = ((0, 0), (0, k - count))
        score = np.take_along_axis(score, top, 1)
        return np.pad(score, pad, constant_values=-np.inf), np.pad(top, pad, constant_values=-1)

    def save(self, path: Path) -> None:
        """Write the vectors."""
        write_array(self.vectors, path)

    @classmethod
    def load(cls, path: Path, effort: Effort = ALL_EFFORT, *, shared: bool = False) -> ExactIndex:
        """Map what `save` wrote; `effort` and `shared` are ignored."""
        loaded_index = cls.__new__(cls)
        loaded_index.vectors = np.asarray(read_array(path))
        return loaded_index
