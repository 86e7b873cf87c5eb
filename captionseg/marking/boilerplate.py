"""Captions that describe nothing: "click to enlarge", "image may contain", cookie banners. By a
list, boilerplate.txt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pyarrow import compute

from captionseg.marking.lists import read_file, read_packaged
from captionseg.marking.marker import MarkedRows, Rows
from captionseg.remarks import quote

pc: Any = compute  # its functions are made when it is imported

WHOLE = "= "  # before a line: the whole of a caption


@dataclass(frozen=True)
class Boilerplate:
    """A caption with a phrase of the list is marked, whatever else it says.

    Attributes:
        file: further phrases, written as in boilerplate.txt.
        packaged: with boilerplate.txt, or those of the file alone.
    """

    file: str | None = None
    packaged: bool = True

    kinds: ClassVar[tuple[str, ...]] = ("caption_boilerplate",)
    reads: ClassVar[str] = "caption"

    def __post_init__(self) -> None:
        if not self.packaged and self.file is None:
            raise ValueError("packaged: false leaves no phrase; give a file")

    def __call__(self, rows: Rows, kept: np.ndarray, *, seed: int = 0) -> MarkedRows:
        """See Marker.

        Raises:
            UserError: if the file cannot be read.
        """
        lines = read_packaged("boilerplate.txt") if self.packaged else []
        lines += read_file(self.file, "curate.marks.boilerplate.file") if self.file else []
        pattern = build_pattern(lines)
        if not pattern:
            return MarkedRows.without_twins(np.zeros(0, np.int64), "caption_boilerplate", [])
        text = normalise_captions(rows.caption)
        row = np.flatnonzero(
            kept & pc.match_substring_regex(text, pattern).to_numpy(zero_copy_only=False)
        )
        exact = re.compile(pattern)
        reasons = []
        for caption in text.take(pa.array(row)).to_pylist():
            match = exact.search(caption)
            assert match is not None, "re and RE2 read the pattern alike"
            reasons.append(f"boilerplate in the caption: {quote(match[0].strip())}")
        return MarkedRows.without_twins(row, "caption_boilerplate", reasons)


def normalise_captions(caption: pa.StringArray) -> pa.StringArray:
    """Captions in lower case, with a single blank for each run of blanks and for all around."""
    lower = pc.utf8_lower(caption)
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(lower, r"\s+", " "))


def build_pattern(lines: Iterable[str]) -> str:
    """One regular expression for all phrases; empty for none. RE2 and re read it alike."""
    lines = list(dict.fromkeys(lines))
    whole = [line.removeprefix(WHOLE) for line in lines if line.startswith(WHOLE)]
    inside = [line for line in lines if not line.startswith(WHOLE)]
    # what is no part of a word; of letters beyond ASCII re and RE2 have no class in common
    ends = "[^0-9A-Za-z\u0080-\U0010ffff]"
    alternatives = []
    if inside:
        alternatives.append(f"(?:^|{ends})(?:{_any(inside)})(?:{ends}|$)")
    if whole:
        alternatives.append(f"^{ends}*(?:{_any(whole)}){ends}*$")
    return "|".join(alternatives)


def _any(phrases: Iterable[str]) -> str:
    """An alternation of phrases, the longest first, so that the reason names that one."""
    return "|".join(map(re.escape, sorted(phrases, key=lambda p: (-len(p), p))))
