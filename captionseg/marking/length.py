"""Captions of too few or too many words or characters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pyarrow import compute

from captionseg.marking.marker import MarkedRows, Rows
from captionseg.typed import Count

pc: Any = compute  # its functions are made when it is imported


@dataclass(frozen=True)
class Length:
    """Words are what stands between blanks, so a caption in a script without blanks is one word.

    Attributes:
        min_words: of a caption.
        max_words: likewise; None is no limit.
        min_characters: without blanks around it.
        max_characters: likewise; None is no limit.
    """

    min_words: Count = 1
    max_words: Count | None = None
    min_characters: Count = 1
    max_characters: Count | None = None

    kinds: ClassVar[tuple[str, ...]] = ("caption_short", "caption_long")
    reads: ClassVar[str] = "caption"

    def __post_init__(self) -> None:
        for unit in ("words", "characters"):
            low, high = getattr(self, f"min_{unit}"), getattr(self, f"max_{unit}")
            if high is not None and high < low:
                raise ValueError(f"max_{unit}: {high} is below min_{unit} ({low})")

    def __call__(self, rows: Rows, kept: np.ndarray, *, seed: int = 0) -> MarkedRows:
        """See Marker."""
        text = pc.utf8_trim_whitespace(rows.caption)
        characters = pc.utf8_length(text).to_numpy(zero_copy_only=False)
        words = pc.list_value_length(pc.utf8_split_whitespace(text)).to_numpy(zero_copy_only=False)
        words = np.where(characters > 0, words, 0)
        marked = MarkedRows.without_twins(np.zeros(0, np.int64), "caption_short", [])
        for count, low, high, unit in (
            (words, self.min_words, self.max_words, "word"),
            (characters, self.min_characters, self.max_characters, "character"),
        ):
            for kind, wrong in (
                ("caption_short", count < low),
                ("caption_long", np.zeros(len(rows), bool) if high is None else count > high),
            ):
                row = np.flatnonzero(kept & wrong)
                reasons = [
                    f"caption of {n} {unit}{'' if n == 1 else 's'}" for n in count[row].tolist()
                ]
                marked = marked + MarkedRows.without_twins(row, kind, reasons)
        return marked
