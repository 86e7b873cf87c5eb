"""Splits text of any script into words, and normalises their spelling."""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import NamedTuple

JOINERS = "\u00ad\u200c\u200d\u2060"
"""Invisible inside a word: soft hyphen, (non-)joiners, word joiner."""

_HIDDEN = dict.fromkeys(map(ord, "\u00ad\u2060"))
_SAME = {ord(c): "'" for c in "\u2019\u02bc\uff07"}  # other apostrophes
_APART = re.compile(r"[^,;:!?()\[\]{}\"\u201c\u201d\u3001\u3002\uff0c\u060c|]+")


class Word(NamedTuple):
    """A word of a text.

    Attributes:
        start, end: its characters.
        after: its end with a possessive 's.
        key: that words are compared by.
    """

    start: int
    end: int
    after: int
    key: str


@functools.cache
def _pattern() -> re.Pattern[str]:
    """Words of letters, digits and the marks that combine with them."""
    marks, start = [], None
    for code in range(0x300, 0x1E950):  # above it are variation selectors alone
        if (unicodedata.category(chr(code))[0] == "M") != (start is not None):
            if start is None:
                start = code
            else:
                marks.append(f"{chr(start)}-{chr(code - 1)}")
                start = None
    return _words(f"(?:[^\\W_]|[{''.join(marks)}{JOINERS}])")


def _words(continuation: str) -> re.Pattern[str]:
    """Group 1 is a word: a letter, then any of `continuation`, apostrophes inside; a possessive 's
    may follow.
    """
    possessive = f"'[sS](?!{continuation})"
    return re.compile(
        rf"([^\W_]{continuation}*(?:(?!{possessive})'[^\W_]{continuation}*)*)(?:{possessive})?"
    )


_PLAIN = _words(r"[^\W_]")  # the same for ASCII, where it is faster


def split(text: str) -> list[Word]:
    """The words of a text, in order."""
    if text.isascii():
        matches = _PLAIN.finditer(text)
        return [Word(m.start(), m.end(1), m.end(), m.group(1).lower()) for m in matches]
    matches = _pattern().finditer(text.translate(_SAME))
    return [Word(m.start(), m.end(1), m.end(), key(m.group(1))) for m in matches]


def tokens(text: str) -> list[str]:
    """The normalised words of a text, without possessive 's; other inner apostrophes are kept."""
    return [word.key for word in split(text)]


@functools.lru_cache(maxsize=65536)
def key(word: str) -> str:
    """Normalise a word for comparison: lower case, composed, full-width letters as plain ones."""
    if word.isascii():
        return word.lower()
    return unicodedata.normalize("NFKC", word.translate(_HIDDEN)).lower()


def adjoin(text: str, first: Word, second: Word) -> bool:
    """Whether two consecutive words are in one phrase: spaces and hyphens join, commas do not."""
    return _APART.fullmatch(text, first.after, second.start) is not None
