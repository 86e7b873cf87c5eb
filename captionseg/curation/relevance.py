"""f(x, t): relevance of concepts to images, Eq. 6 of CoCu (§3.3), and which concepts the captions
of similar images name.

An image is compared with its candidates alone, so the cost grows with the number of images and not
with that of concepts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int, Int32, Shaped
from scipy.sparse import csr_array
from scipy.special import expit

from captionseg.curation.selection import lay_out
from captionseg.records import Corpus, Sigmoid, UserError

Positive = Literal["shifted", "softplus", "clipped", "sigmoid"]

FEW = 256  # concepts for which a product with all of them costs no more than one with some
CELLS = 1 << 17  # counters at once, which fit a core's cache
OWN = 1 << 40  # more than any number of neighbours
PAIRS = 1024  # gathered dot products at once, likewise


@dataclass(frozen=True)
class Candidates:
    """The concepts that n images may get, at most W an image.

    Attributes:
        concept: numbers of the vocabulary, ascending: the more frequent first; -1 pads.
        support: N', how many neighbours' captions name the concept.
        own: does the image's own caption name it?
        total: sum of the given values over those neighbours.
    """

    concept: Int32[np.ndarray, "n W"]
    support: Int32[np.ndarray, "n W"]
    own: Bool[np.ndarray, "n W"]
    total: Float64[np.ndarray, "n W"]


def make_positive(
    cosine: Float[np.ndarray, "*n"], how: Positive, sigmoid: Sigmoid | None = None
) -> Float[np.ndarray, "*n"]:
    """f from the cosine, made > 0 so that the ratio of Eq. 7 is defined (the paper leaves this
    open).

    shifted: (1 + cos) / 2. softplus: log(1 + exp(10 cos)) / 10. clipped: max(cos, 1e-3). sigmoid:
    the probability sigmoid(scale cos + bias) that the encoder has learnt, at least 1e-30.

    Raises:
        UserError: for sigmoid, if the encoder has learnt none.
    """
    if how == "sigmoid":
        scale, bias = require_sigmoid(sigmoid)
        # of doubles, and above the least float32, because of which Eq. 7 would be 0 / 0
        return np.maximum(expit(scale * cosine.astype(np.float64) + bias), 1e-30)
    if how == "shifted":
        return np.maximum((1.0 + cosine) / 2.0, 1e-6)
    if how == "softplus":
        return np.logaddexp(0.0, 10.0 * cosine) / 10.0
    return np.maximum(cosine, 1e-3)


def require_sigmoid(sigmoid: Sigmoid | None) -> Sigmoid:
    """Return the scale and bias of an encoder.

    Raises:
        UserError: if it has none.
    """
    if sigmoid is None:
        raise UserError(
            "curate.RULE.positive: sigmoid needs the learnt scale and bias of an encoder like "
            "SigLIP, and that of the index has none; use shifted, softplus or clipped"
        )
    return sigmoid


def compute_relevance(
    corpus: Corpus,
    rows: Int[np.ndarray, " n"],
    how: Positive,
    concept: Int[np.ndarray, "n W"] | None = None,
) -> Float32[np.ndarray, "n W"]:
    """f of `rows` with their candidates, or with every concept of the vocabulary."""
    cosine = multiply_at(corpus.image_embedding[rows], corpus.concept_embedding, concept)
    return make_positive(cosine, how, corpus.sigmoid).astype(np.float32)


def multiply_at(
    left: Float32[np.ndarray, "n D"],
    right: Float32[np.ndarray, "C D"],
    column: Int[np.ndarray, "n W"] | None,
) -> Float32[np.ndarray, "n W"]:
    """Entries of left @ right.T, in each row those of `column`, 0 where it is -1; None: all."""
    if column is None or len(right) <= FEW or column.shape[1] > len(right) // 4:
        product = left @ right.T
        if column is None:
            return product
        return np.where(
            column >= 0, np.take_along_axis(product, np.maximum(column, 0), 1), np.float32(0)
        )
    row, place = np.nonzero(column >= 0)
    out = np.zeros(column.shape, np.float32)
    out[row, place] = multiply_pairs(left, right, row, column[row, place])
    return out


def multiply_pairs(
    left: Float32[np.ndarray, "n D"],
    right: Float32[np.ndarray, "C D"],
    row: Int[np.ndarray, " p"],
    column: Int[np.ndarray, " p"],
) -> Float32[np.ndarray, " p"]:
    """Single entries of left @ right.T."""
    out = np.empty(len(row), np.float32)
    for start in range(0, len(row), PAIRS):
        part = slice(start, start + PAIRS)
        np.einsum("pd,pd->p", left[row[part]], right[column[part]], out=out[part])
    return out


def compute_named_relevance(
    corpus: Corpus, how: Positive, *, chunk: int = 4096
) -> Float32[np.ndarray, " entries"]:
    """f(x_i, t_c) wherever caption i names c, in the order of `corpus.named`.

    Args:
        corpus: whose pairs.
        how: see `make_positive`.
        chunk: images at once.
    """
    start_of, concept = corpus.named.indptr, corpus.named.indices
    values = np.empty(len(concept), np.float32)
    for start in range(0, len(corpus), chunk):
        rows = np.arange(start, min(start + chunk, len(corpus)))
        entries = slice(start_of[rows[0]], start_of[rows[-1] + 1])
        row = np.repeat(rows - start, np.diff(start_of[start : rows[-1] + 2]))
        cosine = multiply_pairs(
            corpus.image_embedding[rows], corpus.concept_embedding, row, concept[entries]
        )
        values[entries] = make_positive(cosine, how, corpus.sigmoid)
    return values


def count_columns(matrix: csr_array) -> int:
    """C of an [N, C] matrix."""
    assert matrix.shape is not None
    return matrix.shape[1]


def with_values(named: csr_array, values: Float[np.ndarray, " entries"]) -> csr_array:
    """An [N, C] matrix with the entries of another one, and values of its own."""
    return csr_array((values, named.indices, named.indptr), shape=named.shape)


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
    valid = near >= 0
    start_of = np.concatenate([[0], valid.sum(1).cumsum()]).astype(np.int32)
    columns = near[valid].astype(np.int32)
    return csr_array((np.ones(len(columns)), columns, start_of), shape=(len(near), count))


def expand(
    neighbours: Int[np.ndarray, "n K"], k: int, own: csr_array, values: csr_array, *, minimum: int
) -> Candidates:
    """Vision-driven expansion: what the captions of the nearest images name, and the own caption.

    Args:
        neighbours: rows, most similar first, -1 pads.
        k: N, so many of them are asked.
        own: [n, C], what the captions of the images name.
        values: [N, C], an entry wherever a caption names a concept.
        minimum: so many of the N captions must name a concept that the own caption does not; 0
            makes every concept of the vocabulary a candidate.
    """
    count, width = len(neighbours), count_columns(values)
    near = build_adjacency(neighbours, k, len(values.indptr) - 1)
    said = values[near.indices]  # what each neighbour names
    image = np.repeat(np.arange(count), np.diff(near.indptr))
    cell = np.repeat(image, np.diff(said.indptr)) * width + said.indices
    first = said.indptr[near.indptr]  # entry at which the neighbours of an image begin
    own_cell = np.repeat(np.arange(count), np.diff(own.indptr)) * width + own.indices
    size, blocks = max(1, CELLS // max(width, 1)), []
    for start in range(0, count, size):
        end = min(start + size, count)
        entries = slice(first[start], first[end])
        named = own_cell[own.indptr[start] : own.indptr[end]]
        cells = range(start * width, end * width)
        blocks.append(count_block(cell[entries], said.data[entries], named, cells, minimum))
    found, support, is_own, total = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    row, concept = np.divmod(found, max(width, 1))
    number = np.bincount(row, minlength=count)
    return Candidates(
        lay_out(concept.astype(np.int32), number, -1),
        lay_out(support.astype(np.int32), number, 0),
        lay_out(is_own, number, False),
        lay_out(total, number, 0.0),
    )


def count_block(
    cell: Int[np.ndarray, " entries"],
    value: Shaped[np.ndarray, " entries"],
    own: Int[np.ndarray, " named"],
    cells: range,
    minimum: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Counts and sums by cell, an image and a concept, of the cells that are candidates.

    Args:
        cell: one for each concept that a neighbour names, in the order of neighbours.
        value: to be summed; if they are bools, their sum is their count.
        own: cells that the own captions name.
        cells: all that there are.
        minimum: see `expand`.

    Returns:
        the candidates, ascending; their counts; whether they are own; their sums.
    """
    cell = cell - cells.start
    support = np.bincount(cell, minlength=len(cells))
    support[own - cells.start] += OWN  # one pass finds both kinds
    found = np.flatnonzero(support >= minimum)
    count = support[found]
    is_own = count >= OWN
    count[is_own] -= OWN
    if value.dtype == bool:
        total = count.astype(np.float64)
    else:
        total = np.bincount(cell, value, minlength=len(cells))[found]
    return found + cells.start, count, is_own, total
