"""The concepts of every image of a corpus, as columns. CoCu calls those of an image its archive."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32, Shaped

NO_CONCEPT = "no_concept"
"""Reason of rows that are dropped because they have no concept."""

COLUMNS = {
    "score": (np.float32, np.nan),
    "score_a": (np.float32, np.nan),
    "score_b": (np.float32, np.nan),
    "weight": (np.float32, 0.0),
    "support": (np.int32, 0),
    "cluster": (np.int32, -1),
}
"""Columns of a concept beside its number: type and padding value."""

DEFAULTS = {"score": 1.0, "weight": 1.0}
"""Values of columns that a rule does not set, where they differ from the padding."""

ROWS = ("uid", "kept", "drop_reason", "concept", *COLUMNS)
"""All arrays of a supervision."""


@dataclass(frozen=True)
class Supervision:
    """The concepts of N images, at most M an image, and whether each image is used.

    Attributes:
        rule: which curation rule found the concepts; empty before the first.
        vocabulary: [C] all concepts that there are.
        uid: ids, in corpus order.
        kept: is the image used?
        drop_reason: text, empty where kept.
        concept: numbers of the vocabulary, highest score first; -1 pads, at the end of
            a row. M is the largest number of concepts an image has, and at least 1.
        score: s_c, Eq. 8 of CoCu, or what the rule puts in its place.
        score_a: s^a_c, Eq. 6; NaN where a rule has none.
        score_b: s^b_c, Eq. 7; NaN where a rule has none.
        weight: unnormalised probability of being drawn, 0 pads.
        support: N', how many neighbours' captions name the concept.
        cluster: semantic cluster, -1 without clustering.
    """

    rule: str
    vocabulary: Sequence[str]
    uid: Shaped[np.ndarray, " N"]
    kept: Bool[np.ndarray, " N"]
    drop_reason: Shaped[np.ndarray, " N"]
    concept: Int32[np.ndarray, "N M"]
    score: Float32[np.ndarray, "N M"]
    score_a: Float32[np.ndarray, "N M"]
    score_b: Float32[np.ndarray, "N M"]
    weight: Float32[np.ndarray, "N M"]
    support: Int32[np.ndarray, "N M"]
    cluster: Int32[np.ndarray, "N M"]

    @staticmethod
    def blank(uid: Shaped[np.ndarray, " N"]) -> Supervision:
        """A supervision without concepts, all images kept: the input of the first rule."""
        columns = {
            name: np.full((len(uid), 1), pad, dtype) for name, (dtype, pad) in COLUMNS.items()
        }
        return Supervision(
            "",
            (),
            np.asarray(uid, object),
            np.ones(len(uid), bool),
            np.full(len(uid), "", object),
            np.full((len(uid), 1), -1, np.int32),
            **columns,
        )

    def __len__(self) -> int:
        return len(self.uid)

    @property
    def count(self) -> Int[np.ndarray, " N"]:
        """How many concepts each image has."""
        return (self.concept >= 0).sum(1)

    def take(self, rows: Shaped[np.ndarray, " n"] | slice) -> Supervision:
        """Some of the rows, as wide as the longest of them."""
        return trim(replace(self, **{name: getattr(self, name)[rows] for name in ROWS}))

    def with_concepts(
        self,
        concept: Int[np.ndarray, "N M"],
        *,
        rule: str,
        vocabulary: Sequence[str],
        **columns: Shaped[np.ndarray, "N M"],
    ) -> Supervision:
        """The same rows with other concepts; a row without any is dropped as NO_CONCEPT.

        A row that was dropped before stays so, for its first reason.

        Args:
            concept: numbers of the vocabulary, as above.
            rule: name of the rule that found them.
            vocabulary: [C].
            columns: any of COLUMNS; of a column that is not given, scores and weights are 1
                and all others those of padding.
        """
        valid, filled = concept >= 0, {}
        for name, (dtype, pad) in COLUMNS.items():
            filled[name] = np.full(concept.shape, pad, dtype)
            values: Any = columns.pop(name, DEFAULTS.get(name, pad))
            np.copyto(filled[name], values, casting="unsafe", where=valid)
        if columns:
            raise TypeError(f"no columns of a supervision: {', '.join(columns)}")
        dropped = self.kept & ~valid.any(1)
        return trim(
            replace(
                self,
                rule=rule,
                vocabulary=vocabulary,
                kept=self.kept & ~dropped,
                drop_reason=np.where(dropped, NO_CONCEPT, self.drop_reason),
                concept=concept.astype(np.int32),
                **filled,
            )
        )

    def to_texts(self) -> list[list[str]]:
        """Per row its concepts as text, highest score first."""
        return spell(self.concept, self.vocabulary)


def spell(concept: Int[np.ndarray, "N M"], vocabulary: Sequence[str]) -> list[list[str]]:
    """Per row its concepts as text; -1 pads."""
    valid = concept >= 0
    names = np.asarray(vocabulary, object)[concept[valid]].tolist()
    ends = np.concatenate([[0], valid.sum(1).cumsum()]).tolist()
    return [names[start:end] for start, end in itertools.pairwise(ends)]


def join(parts: Sequence[Supervision]) -> Supervision:
    """Concatenate supervisions of consecutive rows, of one rule and one vocabulary."""
    width = max(part.concept.shape[1] for part in parts)
    wide = [widen(part, width) for part in parts]
    return replace(
        parts[0], **{name: np.concatenate([getattr(part, name) for part in wide]) for name in ROWS}
    )


def widen(supervision: Supervision, width: int) -> Supervision:
    """The same rows with columns of padding, `width` altogether."""
    pads = {"concept": -1} | {name: pad for name, (_, pad) in COLUMNS.items()}
    more = ((0, 0), (0, width - supervision.concept.shape[1]))
    columns = {
        name: np.pad(getattr(supervision, name), more, constant_values=pad)
        for name, pad in pads.items()
    }
    return replace(supervision, **columns)


def trim(supervision: Supervision) -> Supervision:
    """Remove columns that are padding in every row.

    A draw takes noise for each column from its generator, so the width must not depend on the limit
    of a rule.
    """
    width = max(1, int(supervision.count.max(initial=0)))
    names = ("concept", *COLUMNS)
    return replace(supervision, **{n: getattr(supervision, n)[:, :width] for n in names})
