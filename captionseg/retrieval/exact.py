"""Exact search: one matrix product a chunk of queries. The reference that the others are tested against."""

from __future__ import annotations

import numpy as np


class ExactIndex:
    """Args: vectors [N, D] float32; key is ignored."""

    def __init__(self, vectors: np.ndarray, key: str | None = None) -> None:
        self.vectors = np.ascontiguousarray(vectors, np.float32)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See Index.search; equal similarities come in row order."""
        score = queries @ self.vectors.T
        k_found = min(k, score.shape[1])
        top = np.argpartition(-score, k_found - 1, axis=1)[:, :k_found] if k_found else np.zeros((len(score), 0), int)
        top.sort(axis=1)
        order = np.argsort(-np.take_along_axis(score, top, 1), axis=1, kind="stable")
        top = np.take_along_axis(top, order, 1)
        score = np.take_along_axis(score, top, 1)
        pad = ((0, 0), (0, k - k_found))
        return np.pad(score, pad, constant_values=-np.inf), np.pad(top, pad, constant_values=-1)
