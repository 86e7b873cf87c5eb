"""The interface of grounders: boxes for phrases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Boxes:
    """Boxes of phrases in one picture.

    Attributes:
        boxes: [n, 4] float32, x0 y0 x1 y1 in pixels, inside the picture.
        phrase: [n] int32 number of each box's phrase; a phrase may have no box, or several.
        score: [n] float32 scores in 0..1, comparable within one grounder.
        unassigned: number of boxes that were dropped because they match no phrase.
        cut: number of texts that were read in pieces, or whose phrases were cut, because they were
            too long.
        masks: [n, H, W] bool, of a grounder that makes masks itself; else None.
        stability: [n] float32 in 0..1: how little each mask depends on its threshold; None without
            masks.
    """

    boxes: np.ndarray
    phrase: np.ndarray
    score: np.ndarray
    unassigned: int = 0
    cut: int = 0
    masks: np.ndarray | None = None
    stability: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def take(self, rows: np.ndarray) -> Boxes:
        """Return some boxes, int [k], in this order."""
        columns = ("boxes", "phrase", "score", "masks", "stability")
        taken = {name: getattr(self, name) for name in columns}
        return replace(
            self, **{name: value[rows] for name, value in taken.items() if value is not None}
        )


def join_boxes(parts: Sequence[Boxes]) -> Boxes:
    """Concatenate boxes, sorted by phrase and then by score, best first.

    Those of one picture have masks, or none has.
    """
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *(part.boxes for part in parts)])
    phrase = np.concatenate([np.zeros(0, np.int32), *(part.phrase for part in parts)])
    score = np.concatenate([np.zeros(0, np.float32), *(part.score for part in parts)])
    unassigned, cut = sum(part.unassigned for part in parts), sum(part.cut for part in parts)
    joined = Boxes(boxes, phrase, score, unassigned, cut)
    masks = [part.masks for part in parts if part.masks is not None]
    if masks:
        stability = [part.stability for part in parts if part.stability is not None]
        joined = replace(
            joined,
            masks=np.concatenate(masks),
            stability=np.concatenate([np.zeros(0, np.float32), *stability]),
        )
    return joined.take(np.lexsort((-score, phrase)))


def group_equal(phrases: Sequence[str]) -> dict[str, list[int]]:
    """Return the different phrases with the numbers of each; those without a word are left out."""
    numbers: dict[str, list[int]] = {}
    for number, phrase in enumerate(phrases):
        if phrase.strip():
            numbers.setdefault(phrase, []).append(number)
    return numbers


def spread_equal(found: Sequence[Boxes], numbers: Iterable[Sequence[int]]) -> list[Boxes]:
    """Return the boxes of different phrases for all phrases that are equal to them.

    Args:
        found: those of each different phrase.
        numbers: numbers of the phrases that are equal to each.
    """
    return [
        replace(boxes, phrase=np.full(len(boxes), number, np.int32))
        for boxes, equal in zip(found, numbers, strict=True)
        for number in equal
    ]


@dataclass(frozen=True)
class Query:
    """A caption with the positions of its phrases, for grounders that read whole captions.

    Attributes:
        text: the caption.
        spans: for each phrase the (start, end) characters of its mentions; empty for a phrase that
            is not in the caption.
    """

    text: str
    spans: tuple[tuple[tuple[int, int], ...], ...]

    @classmethod
    def of(cls, phrases: Sequence[str]) -> Query:
        """Build a text of one sentence per phrase; empty phrases have no mention."""
        text, spans = "", []
        for phrase in phrases:
            start = len(text) + bool(text)
            spans.append(((start, start + len(phrase)),) if phrase else ())
            text += f"{' ' * bool(text)}{phrase}." if phrase else ""
        return cls(text, tuple(spans))


class Grounder(Protocol):
    """Finds boxes of the objects that phrases name."""

    def prepare(self, phrases: Sequence[str]) -> None:
        """Encode all phrases of the next calls together."""
        ...

    def boxes(
        self,
        image: np.ndarray,
        phrases: Sequence[str],
        *,
        dense: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        query: Query | None = None,
    ) -> Boxes:
        """Find boxes of phrases.

        Args:
            image: uint8 [H, W, 3].
            phrases: noun phrases or concepts, in any order.
            dense: [gh, gw, F] frozen features of the picture, if they exist already.
            labels: [side, side] regions of the picture, if they exist already.
            query: the caption with the positions of the phrases.
        """
        ...
