"""Which images would be captioned with a concept: ridge regression on frozen features,
leave-one-out in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array


@dataclass(frozen=True)
class LeaveOneOut:
    """A ridge regression that predicts each row of its own training set as if it had been fitted on
    all the others.

    With A = (X'X + strength I)^-1 and h_i = x_i' A x_i the residual without row i is (y_i - x_i' A
    X'y) / (1 - h_i), exactly. Columns of X are standardised and divided by sqrt(P), so that
    `strength` means the same for every encoder.

    Attributes:
        features: frozen image features.
        labels: [N, C] bool, does caption i name concept c?
        mean, scale: of the standardisation.
        weights: the last row is the constant.
        leverage: h.
    """

    features: Float[np.ndarray, "N P"]
    labels: csr_array
    mean: Float[np.ndarray, " P"]
    scale: Float[np.ndarray, " P"]
    weights: Float32[np.ndarray, "P+1 C"]
    leverage: Float[np.ndarray, " N"]

    @staticmethod
    def fit(
        features: Float[np.ndarray, "N P"], labels: csr_array, strength: float, *, chunk: int = 4096
    ) -> LeaveOneOut:
        """Fit in three passes over the rows, `chunk` at a time; the cost is linear in rows.

        Args:
            features: may be memory-mapped.
            labels: [N, C].
            strength: of the ridge, above 0.
            chunk: rows at once.
        """
        chunks = [slice(i, i + chunk) for i in range(0, len(features), chunk)]
        mean = np.sum([features[p].sum(0, dtype=np.float64) for p in chunks], axis=0) / len(
            features
        )
        square = np.sum([((features[p] - mean) ** 2).sum(0) for p in chunks], axis=0) / len(
            features
        )
        scale = (np.sqrt(square) + 1e-6) * np.sqrt(features.shape[1])
        width = features.shape[1] + 1
        gram, moment = np.zeros((width, width)), np.zeros(())
        for chunk_rows in chunks:
            x = standardise(features[chunk_rows], mean, scale)
            gram += x.T @ x
            moment = moment + x.T @ labels[chunk_rows].toarray().astype(np.float32)
        gram[np.diag_indices(width - 1)] += strength  # the constant is not shrunk
        factor = cho_factor(gram)
        leverage = np.concatenate(
            [
                np.einsum("np,pn->n", x, cho_solve(factor, x.T))
                for x in (standardise(features[chunk_rows], mean, scale) for chunk_rows in chunks)
            ]
        )
        return LeaveOneOut(
            features, labels, mean, scale, cho_solve(factor, moment).astype(np.float32), leverage
        )

    def predict(self, rows: Int[np.ndarray, " n"] | slice) -> Float32[np.ndarray, "n C"]:
        """g of some rows of the training set, each without itself."""
        y = self.labels[rows].toarray().astype(np.float32)
        residual = y - standardise(self.features[rows], self.mean, self.scale) @ self.weights
        return y - residual / np.maximum(1.0 - self.leverage[rows], 1e-3)[:, None].astype(
            np.float32
        )


def standardise(
    features: Float[np.ndarray, "n P"],
    mean: Float[np.ndarray, " P"],
    scale: Float[np.ndarray, " P"],
) -> Float32[np.ndarray, "n P+1"]:
    """At mean 0 and deviation `scale`, with a column of ones last."""
    x = ((features - mean) / scale).astype(np.float32)
    return np.concatenate([x, np.ones((len(x), 1), np.float32)], axis=1)
