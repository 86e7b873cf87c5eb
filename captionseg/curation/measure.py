"""Quality of the archives against the concepts that images really show. For evaluation only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from captionseg.curation.selection import take
from captionseg.supervision.columns import Supervision, spell
from captionseg.supervision.sampling import draw, start_at

DRAWS = 8  # steps that are simulated


def measure(
    supervision: Supervision,
    true: Mapping[str, set[str]],
    named: Sequence[set[str]],
    *,
    sampled: int,
    seed: int,
    draws: int = DRAWS,
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
    counts = count(supervision, true, named, sampled=sampled, seed=seed, draws=draws)
    return summarise(counts, draws=draws)


def count(
    supervision: Supervision,
    true: Mapping[str, set[str]],
    named: Sequence[set[str]] | Mapping[int, set[str]],
    *,
    sampled: int,
    seed: int,
    first: int = 0,
    draws: int = DRAWS,
) -> Counter[str]:
    """Count what `measure` divides; counts of several shards add up.

    Args:
        supervision: of a shard, as wide as that of all rows.
        true: see `measure`.
        named: of each row that `true` knows.
        sampled: see `measure`.
        seed: see `measure`.
        first: number of the shard's first row.
        draws: see `measure`.
    """
    out = Counter(
        rows=len(supervision), kept=int(supervision.kept.sum()), found=int(supervision.count.sum())
    )
    rows = [i for i, uid in enumerate(supervision.uid) if uid in true]
    if not rows:
        return out
    truth = [true[supervision.uid[i]] for i in rows]
    archives = [set(texts) for texts in supervision.take(np.array(rows)).to_texts()]
    add_hits(out, "all", archives, truth)
    add_hits(out, "unnamed", archives, [t - named[i] for i, t in zip(rows, truth, strict=True)])
    width, union = supervision.concept.shape[1], [set[str]() for _ in rows]
    for step in range(draws):
        picks = sample_texts(supervision, sampled, start_at((seed, step), first, width))
        picked = [picks[i] for i in rows]
        add_hits(out, f"draw {step}", picked, truth)
        union = [a | b for a, b in zip(union, picked, strict=True)]
    add_hits(out, "drawn", union, truth)
    return out


def add_hits(
    counts: Counter[str], name: str, predicted: Sequence[set[str]], true: Sequence[set[str]]
) -> None:
    """Add how many concepts are predicted, are true, and are both; a concept outside the known ones
    counts as wrong.
    """
    counts[f"{name}: both"] += sum(len(f & t) for f, t in zip(predicted, true, strict=True))
    counts[f"{name}: true"] += sum(map(len, true))
    counts[f"{name}: predicted"] += sum(map(len, predicted))


def summarise(counts: Mapping[str, int], *, draws: int = DRAWS) -> dict[str, float]:
    """The measures from the counts of all rows; see `measure`."""

    def divide(name: str, by: str) -> float:
        return counts[f"{name}: both"] / max(1, counts[f"{name}: {by}"])

    rows = max(1, counts["rows"])
    out = {"concepts_per_image": counts["found"] / rows, "kept": counts["kept"] / rows}
    if "all: true" not in counts:
        return out
    return out | {
        "recall": divide("all", "true"),
        "precision": divide("all", "predicted"),
        "recall_unnamed": divide("unnamed", "true"),
        "sampled_recall": divide("drawn", "true"),
        "sampled_precision": float(
            np.mean([divide(f"draw {step}", "predicted") for step in range(draws)])
        ),
    }


def sample_texts(supervision: Supervision, count: int, rng: np.random.Generator) -> list[set[str]]:
    """The concepts that one draw takes from each row."""
    columns = draw(supervision.weight, supervision.cluster, count, rng)
    drawn = take(supervision.concept, columns, -1)
    return [set(texts) for texts in spell(drawn, supervision.vocabulary)]
