"""Foreign text in Markdown, shown literally: it cannot link, load or run anything."""

from __future__ import annotations

import re
from collections.abc import Sequence

SPECIAL = re.compile(
    r"[&<>\\`*\[\]!|~]|(?<![^\W_])_|_(?![^\W_])|(?<=www)\.|:(?=//)|@|^[#+=-]", re.IGNORECASE
)


def escape(text: object) -> str:
    """Return `text` on one line, with characters that are special in Markdown, HTML or tables as
    character references.
    """
    return SPECIAL.sub(lambda match: f"&#{ord(match[0])};", " ".join(str(text).split()))


def format_code(text: object) -> str:
    """Return `text` on one line as a code span; not for tables, where `|` ends the cell."""
    line = " ".join(str(text).split())
    fence = "`" * (_longest(line) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{pad}{line}{pad}{fence}" if line else ""


def format_block(lines: Sequence[str]) -> list[str]:
    """Return Markdown that shows `lines` literally."""
    text = [part for line in lines for part in (re.split(r"[\r\n]", line) or [""])]
    fence = "`" * max(3, _longest("\n".join(text)) + 1)
    return [fence, *text, fence]


def defuse(text: str) -> str:
    """Disable links and pictures in Markdown; headings, lists and tables stay."""
    text = re.sub(r"\\?<", "&lt;", text)
    text = re.sub(r"\](?=[\[(:])", r"]&#8203;", text).replace("![", "!&#8203;[")
    return re.sub(
        r"(?<=www)\.", "&#46;", text.replace("://", "&#58;//"), flags=re.IGNORECASE
    ).replace("@", "&#64;")


def _longest(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
