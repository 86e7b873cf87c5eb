"""Parses labels that a user typed: a list separated by commas of any script."""

from __future__ import annotations

import logging
import re
import unicodedata
from pathlib import Path

from captionseg.records import UserError
from captionseg.remarks import quote, quote_first

log = logging.getLogger(__name__)

_COMMAS = "[,\uff0c\ufe50\u3001\uff64\u060c\u1363\u1802]"
"""Latin, full-width, small, Chinese and Japanese, Arabic, Ethiopic, Mongolian."""

_BETWEEN = re.compile(rf"{_COMMAS}?[ \t]*[\r\n]+|{_COMMAS}")
"""A comma, or the end of a line, as in `--labels "$(cat words.txt)"`."""

_INVISIBLE = re.compile("[\u00ad\u034f\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
_NUMBERED = re.compile(r"\d+\s*[:.)=\t,;]\s*(?=\S)")
_JOINERS = "\u200c\u200d"
_SELECTOR = re.compile("[\u034f\u180b-\u180e\ufe00-\ufe0f]")
_QUOTES = (
    '""',
    "''",
    "\u201c\u201d",
    "\u201e\u201c",
    "\u2018\u2019",
    "\u201a\u2018",
    "\u00ab\u00bb",
)
MOST = 255  # a mask of 8 bits has so many labels, and one value for none


def read_labels(text: str, where: str = "--labels") -> list[str]:
    """Read labels from a list with commas or line ends between, each once; log ignored entries in
    one line.

    Quotes around a label are removed. Of spellings that look alike (see `fold`) the first counts.

    Args:
        text: "zebra, grass".
        where: it comes from, for messages.

    Raises:
        UserError: if there is none, more than a mask can tell apart, one that is no text or holds
            no word, for a list in brackets and for a quote that does not end.
    """
    parts = split(text, where)
    written = [part for part in parts if part]
    labels: dict[str, str] = {}
    repeated = []
    for label in written:
        if (key := fold(label)) in labels:
            repeated.append(label)
        else:
            labels[key] = label
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


def split(text: str, where: str) -> list[str]:
    """Split a list of labels; see `read_labels`. Those between two commas may be empty."""
    try:
        # where the language settings are ASCII's, arguments have surrogates in place of UTF-8
        text = text.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeError:
        raise UserError(f"{where}: {quote(text)} is not valid UTF-8") from None
    if text.strip()[:1] + text.strip()[-1:] == "[]":
        raise UserError(f"{where}: {quote(text)} is in brackets; write only words and commas")
    parts = [strip_quotes(clean(part)) for part in _BETWEEN.split(text)]
    if torn := [part for part in parts if part.startswith('"')]:
        raise UserError(
            f"{where}: {quote_first(torn)} begins with a quote that does not end; no label holds a "
            "comma"
        )
    return parts


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
    lines = [line for line in map(str.strip, text.splitlines()) if line and line[0] != "#"]
    if not lines:
        raise UserError(f"{path}: holds no label; write one in each line")
    if all(map(_NUMBERED.match, lines)):  # a list of classes, as `captionseg evaluate` reads it
        lines = [_NUMBERED.sub("", line) for line in lines]
    return read_labels(",".join(lines), str(path))


def is_sign(label: str) -> bool:
    """Whether a label is only punctuation; an emoji is a word."""
    return all(unicodedata.category(c)[0] in "PZCM" for c in label)


def clean(label: str) -> str:
    """Normalise a label: composed, without invisible characters, single spaces."""
    label = _INVISIBLE.sub("", label)
    spaced = "".join(" " if unicodedata.category(c) == "Cc" else c for c in label)
    return " ".join(unicodedata.normalize("NFC", spaced).split())


def strip_quotes(label: str) -> str:
    """Remove quotes around a label, as in lists that were copied from a program or a table."""
    if len(label) > 1 and label[0] + label[-1] in _QUOTES:
        return label[1:-1].strip()
    return label


def fold(label: str) -> str:
    """Return what spellings of a label that look alike have in common: capitals, full-width
    letters, ligatures, invisible characters and the way that an accent is stored do not matter.
    """
    folded = unicodedata.normalize("NFKC", label).casefold()
    joined = any(unicodedata.category(c) == "So" for c in folded)  # joiners make other emoji
    kept = (c for c in folded if not _SELECTOR.match(c) and (joined or c not in _JOINERS))
    return unicodedata.normalize("NFKC", "".join(kept))
