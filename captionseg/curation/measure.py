"""Quality of the archives against the concepts that images really show. For evaluation only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from captionseg.curation.selection import take
from captionseg.supervision.columns import Supervision, spell
from captionseg.supervision.sampling import draw


def recall_precision(
    predicted: Sequence[set[str]], true: Sequence[set[str]]
) -> tuple[float, float]:
    """Micro-averaged recall and precision; a concept outside the known ones counts as wrong."""
    hits = sum(len(f & t) for f, t in zip(predicted, true, strict=True))
    return hits / max(1, sum(map(len, true))), hits / max(1, sum(map(len, predicted)))


def measure(
    supervision: Supervision,
    true: Mapping[str, set[str]],
    named: Sequence[set[str]],
    *,
    sampled: int,
    seed: int,
    draws: int = 8,
) -> dict[str, float]:
    """Recall and precision of the archive and of what is sampled from it.

    Args:
        supervision: of one rule.
        true: uid -> names of all classes in the picture; rows without an entry are not counted.
        named: per row, the concepts that its own caption names.
        sampled: L, how many concepts an image are drawn a step.
        seed: of the draws.
        draws: steps that are simulated.

    Returns:
        concepts_per_image; and where truth is known recall, precision, recall_unnamed (of what the
        caption leaves out), sampled_recall (of all that `draws` steps drew), sampled_precision (of
        each draw).
    """
    archive = [set(texts) for texts in supervision.to_texts()]
    out = {
        "concepts_per_image": float(supervision.count.mean()) if archive else 0.0,
        "kept": float(supervision.kept.mean()) if archive else 0.0,
    }
    rows = [i for i, uid in enumerate(supervision.uid) if uid in true]
    if not rows:
        return out
    archives, truth = [archive[i] for i in rows], [true[supervision.uid[i]] for i in rows]
    out["recall"], out["precision"] = recall_precision(archives, truth)
    missing = [t - named[i] for i, t in zip(rows, truth, strict=True)]
    out["recall_unnamed"], _ = recall_precision(archives, missing)
    picks = [
        sample_texts(supervision, sampled, np.random.default_rng([seed, step]))
        for step in range(draws)
    ]
    union = [set().union(*(pick[i] for pick in picks)) for i in rows]
    out["sampled_recall"], _ = recall_precision(union, truth)
    out["sampled_precision"] = float(
        np.mean([recall_precision([pick[i] for i in rows], truth)[1] for pick in picks])
    )
    return out


def sample_texts(supervision: Supervision, count: int, rng: np.random.Generator) -> list[set[str]]:
    """The concepts that one draw takes from each row."""
    columns = draw(supervision.weight, supervision.cluster, count, rng)
    drawn = take(supervision.concept, columns, -1)
    return [set(texts) for texts in spell(drawn, supervision.vocabulary)]
