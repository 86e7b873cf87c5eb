"""Which images would be captioned with a concept: ridge regression on frozen features,
leave-one-out in closed form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array

from captionseg.curation.relevance import FEW, count_columns, multiply_at, multiply_pairs
from captionseg.records import RowArray
from captionseg.runtime.threads import map_chunks

SOLVED = 1024  # concepts at once


class Scale(NamedTuple):
    """The standardisation of features: their mean, and deviation times sqrt(P), [P] each."""

    mean: np.ndarray
    deviation: np.ndarray


@dataclass(frozen=True)
class LeaveOneOut:
    """A ridge regression that predicts each row of its own training set as if it had been fitted on
    all the others.

    With A = (X'X + strength I)^-1 and h_i = x_i' A x_i the residual without row i is (y_i - x_i' A
    X'y) / (1 - h_i), exactly. Columns of X are standardised and divided by sqrt(P), so that
    `strength` means the same for every encoder.

    Attributes:
        scale: of the standardisation.
        weights: Q = P + 1 of each concept; the last is the constant.
        leverage: h.
    """

    scale: Scale
    weights: Float32[np.ndarray, "C Q"]
    leverage: Float64[np.ndarray, " N"]

    @staticmethod
    def fit(
        features: Float[RowArray, "N P"], labels: csr_array, strength: float, *, chunk: int = 4096
    ) -> LeaveOneOut:
        """Fit in four passes over the rows, `chunk` at a time; the cost is linear in rows.

        Args:
            features: may be on disk.
            labels: [N, C] bool.
            strength: of the ridge, above 0.
            chunk: rows at once.
        """
        chunks = [
            np.arange(i, min(i + chunk, len(features))) for i in range(0, len(features), chunk)
        ]
        scale = measure_scale(features, chunks)

        def multiply(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            x = standardise(features[rows], scale)
            return x.T @ x, multiply_labels(x, labels[rows])

        width = features.shape[1] + 1
        gram, moment = np.zeros((width, width)), np.zeros((count_columns(labels), width))
        for gram_part, moment_part in map_chunks(multiply, chunks):
            gram += gram_part
            moment += moment_part
        gram[np.diag_indices(width - 1)] += strength  # the constant is not shrunk
        factor = cho_factor(gram)

        def lever(rows: np.ndarray) -> np.ndarray:
            x = standardise(features[rows], scale)
            return np.einsum("np,pn->n", x, cho_solve(factor, x.T))

        weights = np.empty(moment.shape, np.float32)
        for start in range(0, len(moment), SOLVED):
            part = slice(start, start + SOLVED)
            weights[part] = cho_solve(factor, moment[part].T).T
        return LeaveOneOut(scale, weights, np.concatenate(list(map_chunks(lever, chunks))))

    @staticmethod
    def of_arrays(arrays: Mapping[str, np.ndarray]) -> LeaveOneOut:
        """The model whose `arrays` these are."""
        scale = Scale(arrays["mean"], arrays["deviation"])
        return LeaveOneOut(scale, arrays["weights"], arrays["leverage"])

    def arrays(self) -> dict[str, np.ndarray]:
        """All that it is made of, by name."""
        return {**self.scale._asdict(), "weights": self.weights, "leverage": self.leverage}

    def predict(
        self,
        rows: Int[np.ndarray, " n"],
        features: Float[np.ndarray, "n P"],
        labels: Bool[np.ndarray, "n W"],
        concept: Int[np.ndarray, "n W"] | None = None,
    ) -> Float32[np.ndarray, "n W"]:
        """g of some rows of the training set, each without itself.

        Args:
            rows: numbers of the rows.
            features: of the rows.
            labels: of the rows, for the concepts.
            concept: of each row; None for all. -1 pads.
        """
        predicted = multiply_at(standardise(features, self.scale), self.weights, concept)
        return self.leave_out(predicted, labels, rows)

    def predict_named(
        self, features: Float[RowArray, "N P"], labels: csr_array, *, chunk: int = 4096
    ) -> Float32[np.ndarray, " entries"]:
        """g of all rows of the training set at what is labelled, in the order of `labels`.

        Args:
            features: of the training set.
            labels: [N, C] bool, of the training set.
            chunk: rows at once.
        """

        def predict(rows: np.ndarray) -> np.ndarray:
            x, part = standardise(features[rows], self.scale), labels[rows]
            row = np.repeat(np.arange(len(rows)), np.diff(part.indptr))
            if len(self.weights) <= FEW:
                predicted = (x @ self.weights.T)[row, part.indices]
            else:
                predicted = multiply_pairs(x, self.weights, row, part.indices)
            return self.leave_out(predicted[:, None], np.ones((len(row), 1), bool), rows[row])[:, 0]

        starts = range(0, len(features), chunk)
        chunks = (np.arange(i, min(i + chunk, len(features))) for i in starts)
        return np.concatenate(list(map_chunks(predict, chunks)))

    def leave_out(
        self,
        predicted: Float32[np.ndarray, "n W"],
        labels: Bool[np.ndarray, "n W"],
        rows: Int[np.ndarray, " n"],
    ) -> Float32[np.ndarray, "n W"]:
        """Predictions without the row itself, from those with it."""
        label = labels.astype(np.float32)
        rest = np.maximum(1.0 - self.leverage[rows], 1e-3)[:, None].astype(np.float32)
        return label - (label - predicted) / rest


def measure_scale(features: Float[RowArray, "N P"], chunks: list[np.ndarray]) -> Scale:
    """Measure mean and deviation of features in two passes over `chunks` of their rows."""
    count = len(features)
    sums = list(map_chunks(lambda rows: features[rows].sum(0, dtype=np.float64), chunks))
    mean = np.sum(sums, axis=0) / count
    squares = list(map_chunks(lambda rows: ((features[rows] - mean) ** 2).sum(0), chunks))
    square = np.sum(squares, axis=0) / count
    return Scale(mean, (np.sqrt(square) + 1e-6) * np.sqrt(features.shape[1]))


def multiply_labels(x: Float32[np.ndarray, "n P"], labels: csr_array) -> Float32[np.ndarray, "C P"]:
    """labels' x, of [n, C] labels."""
    if count_columns(labels) <= FEW:
        return (x.T @ labels.toarray().astype(np.float32)).T
    return labels.astype(np.float32).T @ x


def standardise(features: Float[np.ndarray, "n P"], scale: Scale) -> Float32[np.ndarray, "n P+1"]:
    """At mean 0 and the deviation of the scale, with a column of ones last."""
    x = ((features - scale.mean) / scale.deviation).astype(np.float32)
    return np.concatenate([x, np.ones((len(x), 1), np.float32)], axis=1)
