"""K-means of many embeddings by their cosines."""

from __future__ import annotations

import numpy as np

ROWS = 4096  # whose products with all centres are in memory at once


def fit_centres(points: np.ndarray, count: int, *, iterations: int, seed: int) -> np.ndarray:
    """[at most count, R] L2-normalised centres: spherical k-means from points drawn at random.

    Args:
        points: [n, R] float32, L2-normalised.
        count: of clusters.
        iterations: at most so many updates of the centres.
        seed: of the draw.
    """
    drawn = np.random.default_rng(seed).permutation(len(points))[:count]
    centres, label = points[np.sort(drawn)], np.full(len(points), -1)
    for _ in range(iterations):
        new = np.concatenate(
            [assign(points[start : start + ROWS], centres) for start in range(0, len(points), ROWS)]
        )
        if np.array_equal(new, label):
            break
        label = new
        order = np.argsort(label, kind="stable")
        start = np.searchsorted(label[order], np.arange(len(centres)))
        nonempty = np.flatnonzero(np.bincount(label, minlength=len(centres)))
        sums = np.add.reduceat(points[order], start[nonempty], axis=0)
        norm = np.linalg.norm(sums, axis=1, keepdims=True)
        # an empty cluster stays where it was, and so does one whose points cancel out
        centres = centres.copy()
        centres[nonempty] = np.where(norm > 1e-9, sums / np.maximum(norm, 1e-9), centres[nonempty])
    return centres


def assign(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """[n] the centre of highest cosine."""
    return np.argmax(points.astype(np.float32) @ centres.T, axis=1)
