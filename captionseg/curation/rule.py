"""The interface of every curation rule, and how its concepts become a supervision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np

from captionseg.records import Corpus
from captionseg.supervision.columns import Supervision, join

Columns = Mapping[str, np.ndarray]
"""`concept` and other columns of a Supervision, [n, M] each; empty where images get no concepts and
need none.
"""

Fitted = Mapping[str, np.ndarray]
"""What a rule knows of the whole corpus: arrays by name. They are written to files once and
memory-mapped by all workers.
"""


@runtime_checkable
class Rule(Protocol):
    """A frozen dataclass whose fields are its parameters.

    It works in two steps. `fit` looks at the whole corpus, once. `curate` is then called for some
    rows at a time, in any order and in any process.
    """

    def fit(self, corpus: Corpus) -> Fitted:
        """Whatever must be known of the whole corpus; may be empty.

        Memory may grow with N or with C, but not with N x C.
        """
        ...

    def curate(self, corpus: Corpus, fitted: Fitted, rows: np.ndarray) -> Columns:
        """Columns of the supervision of some rows, which do not depend on the other rows."""
        ...


def supervise(
    rule: Rule, fitted: Fitted, corpus: Corpus, before: Supervision, *, name: str, rows: np.ndarray
) -> Supervision:
    """The supervision of some rows by a rule that was fitted to the corpus.

    Args:
        rule: its `chunk`, if it has one, says how many rows it looks at together.
        fitted: what its `fit` returned.
        corpus: of the rows.
        before: the supervision of the rows so far.
        name: of the rule, or of the variant of one.
        rows: of the corpus, at least one.

    Raises:
        RuntimeError: if the rule returns other rows than it was given.
    """
    chunk = getattr(rule, "chunk", len(rows))
    parts = []
    for start in range(0, len(rows), chunk):
        part = before.take(slice(start, start + chunk))
        columns = dict(rule.curate(corpus, fitted, rows[start : start + chunk]))
        if any(len(values) != len(part) for values in columns.values()):
            raise RuntimeError(f"rule {name} returned other rows than it was given")
        parts.append(
            part.with_concepts(rule=name, vocabulary=corpus.vocabulary, **columns)
            if columns
            else replace(
                Supervision.blank(part.uid),
                rule=name,
                vocabulary=corpus.vocabulary,
                kept=part.kept,
                drop_reason=part.drop_reason,
            )
        )
    return join(parts)


def supervise_all(rule: Rule, corpus: Corpus, *, name: str = "") -> Supervision:
    """Fit a rule to a small corpus, and apply it to all of its rows."""
    before = Supervision.blank(corpus.uid[:])
    rows = np.arange(len(corpus))
    return supervise(rule, rule.fit(corpus), corpus, before, name=name, rows=rows)
