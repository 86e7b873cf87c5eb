"""Markdown: what others wrote (captions, names, errors) shown as it stands, and tables."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

SPECIAL = re.compile(r"([\\`*_\[\]<>|#&~$])")
LIVE = re.compile(
    r"(?<=[a-z]):(?=//)|(?<=www)\.|(?<=[\w.+-])@(?=\w)|(?<=mailto):|(?<=xmpp):", re.IGNORECASE
)
"""What makes a link of an address that stands by itself."""
OPENING = re.compile(r"^([-+])(?=\s+\S)|^(\d+)([.)])(?=\s+\S)")
"""What makes a list of the start of a paragraph."""


def escape(text: str) -> str:
    """Text that Markdown shows as it stands, on one line, also in a table: no link, picture or HTML
    is made of it.
    """
    line = SPECIAL.sub(r"\\\1", re.sub(r"\s+", " ", text))
    return OPENING.sub(r"\2\\\1\3", LIVE.sub(r"\\\g<0>", line))


def fence(text: str) -> str:
    """Text as a block of code, which it cannot end."""
    ticks = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{ticks}\n{text.rstrip()}\n{ticks}"


def format_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], words: Collection[int] = (0,)
) -> list[str]:
    """The lines of a table whose cells are Markdown already.

    Args:
        head: names of the columns.
        rows: as many cells each.
        words: columns that start at the left; the others hold numbers.
    """
    line = ["---" if i in words else "---:" for i in range(len(head))]
    return [f"| {' | '.join(cell or ' ' for cell in row)} |" for row in (head, line, *rows)]
