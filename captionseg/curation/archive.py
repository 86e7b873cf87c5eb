"""Concept archives as arrays: N images by at most M concepts. What the rules share, and the way to
Supervision.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from captionseg.records import Concept, Corpus, Supervision

NO_CONCEPT = "no_concept"
# smallest log weight, 1e-30: what is in an archive can be drawn, in single precision too
FAINTEST = -69.0


@dataclass(frozen=True)
class Archive:
    """The concepts of N images, best first; all arrays are [N, M].

    Attributes:
        concept: indices into the vocabulary, -1 pads.
        score, score_a, score_b: as in records.CONCEPT.
        weight: unnormalised probability of being drawn.
        support: N', neighbours whose caption names the concept.
        cluster: semantic cluster, -1 without clustering.
    """

    concept: np.ndarray
    score: np.ndarray
    score_a: np.ndarray
    score_b: np.ndarray
    weight: np.ndarray
    support: np.ndarray
    cluster: np.ndarray


def select(score: np.ndarray, own: np.ndarray, limit: int, *, own_first: bool) -> np.ndarray:
    """The archive's columns: per row the `limit` best-scored concepts.

    Args:
        score: [n, C] relevance, -inf where a concept is not in the archive.
        own: [n, C] bool, does the row's own caption name it?
        limit: M.
        own_first: own concepts stand before all others and are never cut off by them.

    Returns:
        [n, M] int32 concept indices, best first, -1 pads. Ties go to the more frequent concept.
    """
    # in single precision the 1e6 would swallow the scores of own concepts
    score = score.astype(np.float64)
    key = np.where(own & np.isfinite(score), score + 1e6, score) if own_first else score
    limit = min(limit, score.shape[1])
    order = np.argsort(-key, axis=1, kind="stable")[:, :limit]
    return np.where(np.isfinite(np.take_along_axis(key, order, 1)), order, -1).astype(np.int32)


def take(matrix: np.ndarray, concept: np.ndarray, fill: float) -> np.ndarray:
    """[n, M]: values of an [n, C] matrix at the concepts of an archive, `fill` where there is
    none."""
    return np.where(concept >= 0, np.take_along_axis(matrix, np.maximum(concept, 0), 1), fill)


def join(parts: list[Archive]) -> Archive:
    """The archives of consecutive chunks of rows as one."""
    return Archive(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in Archive.__annotations__
        )
    )


def to_supervision(archive: Archive, corpus: Corpus, before: Supervision, rule: str) -> Supervision:
    """Rows that were kept get their archive; a row without any concept is dropped as NO_CONCEPT."""
    concepts, kept, reasons = [], before.kept.copy(), list(before.drop_reason)
    for row in range(len(corpus)):
        here = np.flatnonzero(archive.concept[row] >= 0)
        concepts.append(
            tuple(
                Concept(
                    corpus.vocabulary[int(archive.concept[row, m])],
                    float(archive.score[row, m]),
                    float(archive.score_a[row, m]),
                    float(archive.score_b[row, m]),
                    float(archive.weight[row, m]),
                    int(archive.support[row, m]),
                    int(archive.cluster[row, m]),
                    rule,
                )
                for m in here
            )
        )
        if kept[row] and not len(here):
            kept[row], reasons[row] = False, NO_CONCEPT
    return Supervision(before.uid, kept, reasons, concepts)
