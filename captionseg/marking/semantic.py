"""Pictures that show the same: embeddings of a high cosine within a cluster, as SemDeDup looks for
them (Abbas et al., "SemDeDup: Data-efficient learning at web-scale through semantic deduplication",
2023).

SemDeDup keeps of a group the picture farthest from the centre of its cluster, and the paper finds
that it hardly matters which. Here the same one stays as by the other markers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Interval
from threadpoolctl import threadpool_limits

from captionseg.marking.clusters import assign, fit_centres
from captionseg.marking.leaders import find_leaders
from captionseg.marking.marker import MarkedRows, Rows
from captionseg.marking.twins import Pictures, mark_followers
from captionseg.typed import Count

ROWS = 4096  # of a matrix of cosines


@dataclass(frozen=True)
class Cosines:
    """Cosine similarity of embeddings, see Metric.

    Attributes:
        vector: [n, R] float32, L2-normalised.
        similarity: smallest cosine of near vectors.
    """

    vector: np.ndarray
    similarity: float

    def near(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """See Metric."""
        return self.vector[first] @ self.vector[second].T >= self.similarity

    def find_first(self, leaders: np.ndarray, queries: np.ndarray) -> np.ndarray:
        """See Metric."""
        firsts = []
        for start in range(0, len(queries), ROWS):
            near = self.near(queries[start : start + ROWS], leaders)
            firsts.append(np.where(near.any(1), near.argmax(1), -1))
        return np.concatenate(firsts)


@dataclass(frozen=True)
class Semantic:
    """Of pictures whose embeddings are near each other one stays, within a cluster; see
    `find_leaders`.

    Two pictures on both sides of a border between clusters are not compared. Memory is bounded by
    the largest cluster.

    Attributes:
        similarity: cosine from which on two pictures show the same. It depends on the encoder; see
            docs/methods/marks.md.
        cluster: pictures in one, on average.
        sample: pictures that the centres are fitted on, evenly spaced.
        iterations: of k-means.
    """

    similarity: Annotated[float, Interval(gt=0, le=1)] = 0.95
    cluster: Count = 1024
    sample: Count = 50_000
    iterations: Count = 10

    kinds: ClassVar[tuple[str, ...]] = ("semantic_duplicate", "leak")
    reads: ClassVar[str] = "picture"

    def __call__(self, rows: Rows, kept: np.ndarray, *, seed: int = 0) -> MarkedRows:
        """See Marker."""
        pictures = Pictures.list_candidates(rows, kept)
        leader, cosine = np.arange(len(pictures)), np.ones(len(pictures), np.float32)
        # sums of several threads differ in their last digits from run to run
        with threadpool_limits(1, user_api="blas"):
            for members in self._cluster(rows, pictures, seed):
                vector = np.asarray(rows.descriptor[pictures.row[members]], np.float32)
                leaders = find_leaders(
                    len(members),
                    Cosines(vector, self.similarity),
                    forced=int(pictures.held_out[members].sum()),
                )
                leader[members] = members[leaders]
                cosine[members] = np.einsum("nd,nd->n", vector, vector[leaders])
        of_row = dict(zip(pictures.row.tolist(), cosine.tolist(), strict=True))

        def describe_cosine(row: np.ndarray, twin: np.ndarray) -> list[str]:
            return [f" (cosine {of_row[int(n)]:.3f})" for n in row]

        return mark_followers(rows, kept, pictures, leader, "semantic", describe_cosine)

    def _cluster(self, rows: Rows, pictures: Pictures, seed: int) -> list[np.ndarray]:
        """The images of each cluster, best first."""
        count = -(-len(pictures) // self.cluster)
        if count < 2:
            return [np.arange(len(pictures))] if len(pictures) else []
        # by row, so that the order in which pictures stay decides no centre
        spread = np.sort(pictures.row)[:: -(-len(pictures) // self.sample)]
        points = np.asarray(rows.descriptor[spread], np.float32)
        centres = fit_centres(points, count, iterations=self.iterations, seed=seed)
        label = np.concatenate(
            [
                assign(np.asarray(rows.descriptor[pictures.row[start : start + ROWS]]), centres)
                for start in range(0, len(pictures), ROWS)
            ]
        )
        order = np.argsort(label, kind="stable")
        return [
            members
            for members in np.split(order, np.cumsum(np.bincount(label))[:-1])
            if len(members)
        ]
