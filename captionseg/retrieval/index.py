"""The one interface of every index, and the neighbours table that curation reads."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from tqdm import tqdm


class Index(Protocol):
    """Rows of a matrix, searchable by inner product."""

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Similarities [Q, k] float32 and rows [Q, k] int64, best first; row -1 where there are fewer than k."""
        ...


def neighbours(index: Index, rows: np.ndarray, descriptor: np.ndarray, k: int, *,
               chunk: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """The k most similar indexed images of every image, itself excluded.

    Args:
        index: built over `descriptor[rows]`.
        rows: [R] which rows of the corpus the index holds.
        descriptor: [N, D] float32 L2-normalised, queries too.
        k: neighbours wanted.
        chunk: queries at once; memory is bounded by it.

    Returns:
        neighbours [N, k] int32 rows of the corpus and similarities [N, k] float32, padded with -1 and -inf.
    """
    wanted = min(k + 1, len(rows))
    near = np.full((len(descriptor), k), -1, np.int32)
    similarity = np.full((len(descriptor), k), -np.inf, np.float32)
    for start in tqdm(range(0, len(descriptor), chunk), desc="neighbours", unit="chunk"):
        score, found = index.search(np.ascontiguousarray(descriptor[start : start + chunk], np.float32), wanted)
        found = np.where(found < 0, -1, rows[found]).astype(np.int32)
        # Put the query itself last, keep the order of the rest; an image twice in the corpus is its own neighbour.
        self_last = np.argsort(found == np.arange(start, start + len(found))[:, None], axis=1, kind="stable")
        found, score = (np.take_along_axis(a, self_last, 1)[:, :k] for a in (found, score))
        is_self = found == np.arange(start, start + len(found))[:, None]
        near[start : start + len(found), : found.shape[1]] = np.where(is_self, -1, found)
        similarity[start : start + len(found), : found.shape[1]] = np.where(is_self, -np.inf, score)
    return near, similarity
