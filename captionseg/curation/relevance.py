"""f(x, t): relevance of concepts to images, Eq. 6 of CoCu (§3.3), and its sums over captioned
neighbours.

All sums over neighbours are products of sparse matrices, so the cost grows linearly with the number
of images.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float, Float32, Int
from scipy.sparse import csr_array

from captionseg.records import Corpus, UserError

Positive = Literal["shifted", "softplus", "clipped"]


def make_positive(cosine: Float[np.ndarray, "*n"], how: Positive) -> Float[np.ndarray, "*n"]:
    """f from the cosine, made > 0 so that the ratio of Eq. 7 is defined (the paper leaves this
    open).

    shifted: (1 + cos) / 2. softplus: log(1 + exp(10 cos)) / 10. clipped: max(cos, 1e-3).
    """
    if how == "shifted":
        return np.maximum((1.0 + cosine) / 2.0, 1e-6)
    if how == "softplus":
        return np.logaddexp(0.0, 10.0 * cosine) / 10.0
    return np.maximum(cosine, 1e-3)


def compute_relevance(
    corpus: Corpus, rows: Int[np.ndarray, " n"], how: Positive
) -> Float32[np.ndarray, "n C"]:
    """f of `rows` with every concept of the vocabulary."""
    return make_positive(corpus.image_embedding[rows] @ corpus.concept_embedding.T, how).astype(
        np.float32
    )


def compute_named_relevance(corpus: Corpus, how: Positive, *, chunk: int = 262_144) -> csr_array:
    """[N, C] float64 CSR: f(x_i, t_c) where caption i names c, nothing elsewhere."""
    rows, columns = corpus.named.nonzero()
    values = np.empty(len(rows))
    for start in range(0, len(rows), chunk):
        chunk_rows = slice(start, start + chunk)
        cosine = np.einsum(
            "nd,nd->n",
            corpus.image_embedding[rows[chunk_rows]],
            corpus.concept_embedding[columns[chunk_rows]],
        )
        values[chunk_rows] = make_positive(cosine, how)
    return csr_array((values, (rows, columns)), shape=corpus.named.shape)


def build_adjacency(neighbours: Int[np.ndarray, "n K"], k: int, count: int) -> csr_array:
    """[n, N] CSR of ones: which rows are the first k neighbours of which; -1 entries are skipped.

    Raises:
        UserError: if the index holds fewer than k, though there are more pictures than that.
    """
    if (available := neighbours.shape[1]) < min(k, count - 1):
        raise UserError(
            f"curate: {k} neighbours an image are asked for, but the index holds {available}; "
            "raise index.neighbours (captions: index.caption_neighbours), or lower "
            "curate.RULE.neighbours"
        )
    near = neighbours[:, :k]
    rows, columns = np.nonzero(near >= 0)
    return csr_array((np.ones(len(rows)), (rows, near[rows, columns])), shape=(len(near), count))


def sum_neighbours(near: csr_array, values: csr_array) -> Float[np.ndarray, "n C"]:
    """Sums of [N, C] values over the neighbours of `build_adjacency`."""
    return csr_array(near @ values).toarray().astype(float)


def expand(
    neighbours: Int[np.ndarray, "n K"], k: int, *values: csr_array
) -> list[Float[np.ndarray, "n C"]]:
    """Vision-driven expansion: what the captions of the nearest images name.

    Args:
        neighbours: rows, most similar first, -1 pads.
        k: N, so many of them are asked.
        values: [N, C] each, nothing where a caption does not name a concept: `corpus.named`, or
            `compute_named_relevance`.

    Returns:
        of each values their sums over the neighbours: of `corpus.named` N', how many name a
        concept.
    """
    shape = values[0].shape
    assert shape is not None
    near = build_adjacency(neighbours, k, shape[0])
    return [sum_neighbours(near, v) for v in values]
