"""Markdown: escaping of foreign text (captions, names, errors), and tables."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

SPECIAL = re.compile(r"([\\`*_\[\]<>|#&~$])")
LIVE = re.compile(
    r"(?<=[a-z]):(?=//)|(?<=www)\.|(?<=[\w.+-])@(?=\w)|(?<=mailto):|(?<=xmpp):", re.IGNORECASE
)
"""Characters that turn a bare address into a link."""
OPENING = re.compile(r"^([-+])(?=\s+\S)|^(\d+)([.)])(?=\s+\S)")
"""Openings that turn a paragraph into a list."""


def escape(text: str) -> str:
    """Escape text so that Markdown shows it literally on one line, also in a table: no links,
    pictures or HTML.
    """
    line = SPECIAL.sub(r"\\\1", re.sub(r"\s+", " ", text))
    return OPENING.sub(r"\2\\\1\3", LIVE.sub(r"\\\g<0>", line))


def fence(text: str) -> str:
    """Return text as a fenced code block that the text itself cannot close."""
    ticks = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{ticks}\n{text.rstrip()}\n{ticks}"


def format_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], words: Collection[int] = (0,)
) -> list[str]:
    """Return the lines of a table whose cells are already Markdown.

    Args:
        head: column names.
        rows: one cell per column each.
        words: left-aligned columns; the others hold numbers.
    """
    line = ["---" if i in words else "---:" for i in range(len(head))]
    return [f"| {' | '.join(cell or ' ' for cell in row)} |" for row in (head, line, *rows)]
