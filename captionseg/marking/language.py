"""Captions that do not look like English, by two heuristics. No model of languages is asked:
Spanish without accents passes the first, and a list of English names fails the second.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pyarrow import compute

from captionseg.marking.lists import read_packaged
from captionseg.marking.marker import MarkedRows, Rows
from captionseg.typed import Share

pc: Any = compute  # its functions are made when it is imported


@dataclass(frozen=True)
class Language:
    """English by its letters and by its function words.

    Attributes:
        min_ascii: share of a caption's letters that are a to z. 0 asks nothing; else a caption
            without any letter is marked too.
        min_function_words: share of its words that are of function_words.txt (the, of, with ...). 0
            asks nothing. Alt texts often have none: "red barn, winter".
    """

    min_ascii: Share = 0.8
    min_function_words: Share = 0.0

    kinds: ClassVar[tuple[str, ...]] = ("caption_language",)
    reads: ClassVar[str] = "caption"

    def __call__(self, rows: Rows, kept: np.ndarray, *, seed: int = 0) -> MarkedRows:
        """See Marker."""
        return self._mark(
            rows, kept, self.min_ascii, "{:.0%} of the caption's letters are a to z", share_ascii
        ) + self._mark(
            rows,
            kept,
            self.min_function_words,
            "{:.0%} of the caption's words are function words of English",
            share_function_words,
        )

    def _mark(
        self, rows: Rows, kept: np.ndarray, limit: float, template: str, measure: Any
    ) -> MarkedRows:
        """Mark rows whose share is below a limit; a limit of 0 marks none."""
        share = measure(rows.caption) if limit else np.ones(len(rows))
        row = np.flatnonzero(kept & (share < limit))
        return MarkedRows.without_twins(
            row, "caption_language", [template.format(x) for x in share[row]]
        )


def share_ascii(caption: pa.StringArray) -> np.ndarray:
    """[N] share of the letters that are a to z, in any case; 0 where there is no letter."""
    letters = pc.utf8_length(pc.replace_substring_regex(caption, r"[^\pL]+", ""))
    ascii_letters = pc.utf8_length(pc.replace_substring_regex(caption, "[^A-Za-z]+", ""))
    return _divide(ascii_letters, letters)


def share_function_words(caption: pa.StringArray) -> np.ndarray:
    """[N] share of the words that are function words of English; 0 where there is no word."""
    words = pc.count_substring_regex(caption, r"[\pL\pN]+(?:['\x{2019}][\pL]+)*")
    return _divide(pc.count_substring_regex(caption, _pattern(), ignore_case=True), words)


@functools.cache
def _pattern() -> str:
    words = "|".join(map(re.escape, read_packaged("function_words.txt")))
    return rf"\b(?:{words})\b"


def _divide(numerator: Any, denominator: Any) -> np.ndarray:
    numerator, denominator = (
        x.to_numpy(zero_copy_only=False).astype(np.float64) for x in (numerator, denominator)
    )
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator > 0)
