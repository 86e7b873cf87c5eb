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
        phrase: [n] int32, which of the given phrases the box is for; a phrase may have none, or several.
        score: [n] float32 in 0..1, comparable within one grounder.
    """

    boxes: np.ndarray
    phrase: np.ndarray
    score: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)


class Grounder(Protocol):
    """Finds what phrases speak of."""

    def prepare(self, phrases: Sequence[str]) -> None:
        """Hear of all phrases that will be asked for, so that they can be encoded together."""
        ...

    def boxes(
        self,
        image: np.ndarray,
        phrases: Sequence[str],
        *,
        dense: np.ndarray | None = None,
        labels: np.ndarray | None = None,
    ) -> Boxes:
        """Boxes of phrases.

        Args:
            image: uint8 [H, W, 3].
            phrases: noun phrases or concepts, in any order.
            dense: [gh, gw, F] frozen features of the picture, where the index stage left them.
            labels: [side, side] its class-agnostic regions, where the regions stage left them.
        """
        ...
