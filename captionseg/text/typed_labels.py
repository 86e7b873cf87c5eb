"""Parses labels that a user typed: a list separated by commas of any script."""

from __future__ import annotations

import logging
import re
import unicodedata
from pathlib import Path

from captionseg.records import UserError
from captionseg.remarks import quote, quote_first

log = logging.getLogger(__name__)

_COMMA = re.compile("[,\uff0c\ufe50\u3001\uff64\u060c\u1363\u1802]")
"""Comma: Latin, full-width, small, Chinese and Japanese, Arabic, Ethiopic, Mongolian."""

_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
MOST = 255  # a mask of 8 bits has so many labels, and one value for none


def read_labels(text: str, where: str = "--labels") -> list[str]:
    """Read labels from a comma-separated list, each once; log ignored entries in one line.

    Spaces, capitals, invisible characters and the way that an accent is stored make no label
    another one: the first spelling counts.

    Args:
        text: "zebra, grass".
        where: it comes from, for messages.

    Raises:
        UserError: if there is none, more than a mask can tell apart, or one that is no text or
            holds no word.
    """
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise UserError(f"{where}: {quote(text)} is not valid UTF-8")
    parts = [clean(part) for part in _COMMA.split(text)]
    written = [part for part in parts if part]
    labels: dict[str, str] = {}
    repeated = []
    for label in written:
        normalised = unicodedata.normalize("NFKC", label).casefold()
        if normalised in labels:
            repeated.append(label)
        else:
            labels[normalised] = label
    empty = len(parts) - len(written)
    empty -= len(parts) > 1 and not parts[-1]  # a comma at the end is a habit
    names = list(labels.values())
    if not names:
        raise UserError(f'{where}: give at least one, for example --labels "zebra, grass"')
    if signs := [label for label in names if is_sign(label)]:
        raise UserError(f"{where}: {quote_first(signs)} contains no word; remove it or use a word")
    if len(names) > MOST:
        raise UserError(f"{where}: {len(names)} labels; at most {MOST} are possible for a picture")
    reasons = [f"{empty} empty"] if empty else []
    if repeated:
        reasons.append(f"{len(repeated)} repeated ({quote_first(repeated)})")
    if reasons:
        log.warning("%s: ignored %s", where, " and ".join(reasons))
    return names


def read_file(path: Path) -> list[str]:
    """Read labels from a text file: one in a line, or several with commas between. Lines that begin
    with # are comments.

    Raises:
        UserError: if it cannot be read, and see `read_labels`.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not a text in UTF-8") from None
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise UserError(f"{path}: {reason}") from None
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        raise UserError(f"{path}: holds no label; write one in each line")
    return read_labels(",".join(lines), str(path))


def is_sign(label: str) -> bool:
    """Whether a label is only punctuation; an emoji is a word."""
    return all(unicodedata.category(c)[0] in "PZC" for c in label)


def clean(label: str) -> str:
    """Normalise a label: composed, without invisible characters, single spaces."""
    label = _INVISIBLE.sub("", label)
    spaced = "".join(" " if unicodedata.category(c) == "Cc" else c for c in label)
    return " ".join(unicodedata.normalize("NFC", spaced).split())
