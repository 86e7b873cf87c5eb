"""Supervision row by row, as tests write it down and read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from captionseg.supervision.columns import COLUMNS, Supervision


@dataclass(frozen=True)
class Concept:
    """One concept of one image."""

    text: str
    score: float = 1.0
    score_a: float = float("nan")
    score_b: float = float("nan")
    weight: float = 1.0
    support: int = 0
    cluster: int = -1
    rule: str = ""


def concepts_of(supervision: Supervision) -> list[tuple[Concept, ...]]:
    """Per row its concepts, best first."""
    arrays = [getattr(supervision, name).tolist() for name in COLUMNS]
    return [
        tuple(Concept(text, *values, supervision.rule) for text, *values in zip(texts, *of_row))
        for texts, *of_row in zip(supervision.to_texts(), *arrays, strict=True)
    ]


def supervision_of(
    uid: Sequence[str],
    rows: Sequence[Sequence[Concept]],
    *,
    kept: Sequence[bool] | None = None,
    reasons: Sequence[str] | None = None,
    vocabulary: Sequence[str] | None = None,
) -> Supervision:
    """A supervision with these concepts, of the rule that the first of them names."""
    every = [concept for row in rows for concept in row]
    words = list(vocabulary or dict.fromkeys(c.text for c in every))
    shape = len(rows), max((len(row) for row in rows), default=0) or 1
    concept = np.full(shape, -1, np.int32)
    columns = {name: np.full(shape, pad, kind) for name, (kind, pad) in COLUMNS.items()}
    for i, row in enumerate(rows):
        for j, one in enumerate(row):
            concept[i, j] = words.index(one.text)
            for name, column in columns.items():
                column[i, j] = getattr(one, name)
    blank = Supervision.blank(np.array(list(uid), object))
    return Supervision(
        every[0].rule if every else "",
        words,
        blank.uid,
        blank.kept if kept is None else np.array(kept, bool),
        blank.drop_reason if reasons is None else np.array(reasons, object),
        concept,
        **columns,
    )
