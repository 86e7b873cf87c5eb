"""CoCu (Xing et al. 2023, §3.3), complete and literal; what the paper leaves open is a field.

In the order of the paper: expansion by neighbours, ranking by Eq. 6-8, clusters for sampling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, Num

from captionseg.curation.clustering import cluster
from captionseg.curation.relevance import (
    Positive,
    compute_named_relevance,
    compute_relevance,
    expand,
    with_values,
)
from captionseg.curation.rule import Columns, Fitted
from captionseg.curation.selection import select, take, weigh
from captionseg.records import Corpus
from captionseg.typed import AboveZero, Count, Natural


@dataclass(frozen=True)
class CoCu:
    """Vision-driven expansion, text-to-vision-guided ranking, clusters for cluster-guided sampling.

    Attributes:
        neighbours: N, images whose captions fill the archive. Open in the paper; its code takes 8
            of millions.
        minimum_support: a concept enters the archive when so many of the N captions name it. Open
            in the paper (1).
        limit: M, at most so many concepts an image. Open in the paper.
        clusters: L; 0 samples from the whole archive by relevance.
        ranking: a+b is Eq. 8; a is Eq. 6 alone ("naive ranking"), b Eq. 7 alone.
        positive: how the cosine becomes f > 0 in Eq. 6 and 7. Open in the paper.
        temperature: a concept is drawn with probability proportional to exp(s / temperature). Open
            in the paper.
        own_first: the caption's own concepts stand first and are drawn like the best. Open in the
            paper.
        chunk: images at once; memory is bounded by chunk x (concepts that neighbours name).
    """

    neighbours: Count = 128
    minimum_support: Natural = 3
    limit: Count = 6
    clusters: Natural = 3
    ranking: Literal["a+b", "a", "b"] = "a+b"
    positive: Positive = "shifted"
    temperature: AboveZero = 0.2
    own_first: bool = True
    chunk: Count = 1024

    def __post_init__(self) -> None:
        for name in ("neighbours", "limit", "temperature", "chunk"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, found {getattr(self, name)}")

    def fit(self, corpus: Corpus) -> Fitted:
        """See Rule."""
        return {"named_f": compute_named_relevance(corpus, self.positive)}

    def curate(self, corpus: Corpus, fitted: Fitted, rows: Int[np.ndarray, " n"]) -> Columns:
        """See Rule."""
        f = with_values(corpus.named, fitted["named_f"])
        # N', and f of the N' neighbours
        near, own = corpus.neighbours[rows], corpus.named[rows]
        found = expand(near, self.neighbours, own, f, minimum=self.minimum_support)
        s_a = compute_relevance(corpus, rows, self.positive, found.concept)  # Eq. 6
        s_b = score_b(s_a, found.support, found.total)  # Eq. 7
        score = {"a+b": s_a + s_b, "a": s_a, "b": s_b}[self.ranking]  # Eq. 8
        place = select(
            np.where(found.concept >= 0, score, -np.inf),
            found.own,
            self.limit,
            own_first=self.own_first,
        )
        concept, score = take(found.concept, place, -1), take(score, place, np.nan)
        certain = take(found.own & self.own_first, place, False)
        return {
            "concept": concept,
            "score": score,
            "score_a": take(s_a, place, np.nan),
            "score_b": take(s_b, place, np.nan),
            "weight": weigh(score, certain, self.temperature),
            "support": take(found.support, place, 0),
            "cluster": cluster(concept, corpus.concept_embedding, self.clusters),
        }


def score_b(
    f: Float[np.ndarray, "n W"],
    support: Num[np.ndarray, "n W"],
    reference_sum: Float[np.ndarray, "n W"],
) -> Float[np.ndarray, "n W"]:
    """Eq. 7: (1 + N') f / (f + sum of f over the N' neighbours whose captions name the concept).

    Args:
        f: relevance of W concepts to n images, > 0.
        support: N'.
        reference_sum: sum of f over those neighbours.

    Returns:
        Exactly 1 where N' = 0: the image is compared with itself alone.
    """
    return (1.0 + support) * f / (f + reference_sum)
