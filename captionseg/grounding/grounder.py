"""The interface of grounders: boxes for phrases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Boxes:
    """What a grounder found in one picture.

    Attributes:
        boxes: [n, 4] float32, x0 y0 x1 y1 in pixels, inside the picture.
        phrase: [n] int32, which of the given phrases the box is for; a phrase may have none, or
            several.
        score: [n] float32 in 0..1, comparable within one grounder.
        unassigned: boxes that were found and dropped, because what they show is none of the
            phrases.
        cut: texts that were longer than the grounder reads at once, and read in pieces.
    """

    boxes: np.ndarray
    phrase: np.ndarray
    score: np.ndarray
    unassigned: int = 0
    cut: int = 0

    def __len__(self) -> int:
        return len(self.boxes)


def join_boxes(parts: Sequence[Boxes]) -> Boxes:
    """All in one: by phrase, best first."""
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *(part.boxes for part in parts)])
    phrase = np.concatenate([np.zeros(0, np.int32), *(part.phrase for part in parts)])
    score = np.concatenate([np.zeros(0, np.float32), *(part.score for part in parts)])
    order = np.lexsort((-score, phrase))
    unassigned, cut = sum(part.unassigned for part in parts), sum(part.cut for part in parts)
    return Boxes(boxes[order], phrase[order], score[order], unassigned, cut)


@dataclass(frozen=True)
class Query:
    """A text that is grounded as a whole, for grounders that read whole captions.

    Attributes:
        text: the caption.
        spans: per phrase the (start, end) characters of its mentions; none for a phrase that the
            text does not have.
    """

    text: str
    spans: tuple[tuple[tuple[int, int], ...], ...]

    @classmethod
    def of(cls, phrases: Sequence[str]) -> Query:
        """Every phrase a sentence of its own; an empty one is left out, so that it has no
        mention.
        """
        text, spans = "", []
        for phrase in phrases:
            start = len(text) + bool(text)
            spans.append(((start, start + len(phrase)),) if phrase else ())
            text += f"{' ' * bool(text)}{phrase}." if phrase else ""
        return cls(text, tuple(spans))


class Grounder(Protocol):
    """Finds what phrases speak of."""

    def prepare(self, phrases: Sequence[str]) -> None:
        """Hear of all phrases that will be asked for next, so that they can be encoded together."""
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
        """Boxes of phrases.

        Args:
            image: uint8 [H, W, 3].
            phrases: noun phrases or concepts, in any order.
            dense: [gh, gw, F] frozen features of the picture, where the index stage left them.
            labels: [side, side] its class-agnostic regions, where the regions stage left them.
            query: the caption and where it has the phrases, one for one.
        """
        ...
