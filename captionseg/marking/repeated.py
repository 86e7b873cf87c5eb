"""Captions that many pictures share: they describe a site, not a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from captionseg.marking.boilerplate import normalise_captions
from captionseg.marking.marker import MarkedRows, Rows
from captionseg.typed import Count


@dataclass(frozen=True)
class Repeated:
    """Captions count as equal whatever their case and runs of blanks.

    Attributes:
        most: pictures that may have one caption; all of them are marked where there are more.
    """

    most: Count = 10

    kinds: ClassVar[tuple[str, ...]] = ("caption_repeated",)
    reads: ClassVar[str] = "caption"

    def __call__(self, rows: Rows, kept: np.ndarray, *, seed: int = 0) -> MarkedRows:
        """See Marker."""
        text = normalise_captions(rows.caption).dictionary_encode().indices.to_numpy()
        # a picture that has a caption twice has it once
        shown = np.unique(np.stack([text[kept], rows.picture[kept]]), axis=1)[0]
        pictures = np.bincount(shown, minlength=text.max(initial=-1) + 1)
        row = np.flatnonzero(kept & (pictures[text] > self.most))
        reasons = [f"caption of {n} pictures" for n in pictures[text[row]].tolist()]
        return MarkedRows.without_twins(row, "caption_repeated", reasons)
