"""Text of others in Markdown: it is shown as it is, and neither links, loads nor runs anything."""

from __future__ import annotations

import re
from collections.abc import Sequence

SPECIAL = re.compile(
    r"[&<>\\`*\[\]!|~]|(?<![^\W_])_|_(?![^\W_])|(?<=www)\.|:(?=//)|@|^[#+=-]", re.IGNORECASE
)


def escape(text: object) -> str:
    """`text` on one line, where what Markdown, HTML or a table gives a meaning to is a character
    reference.
    """
    return SPECIAL.sub(lambda match: f"&#{ord(match[0])};", " ".join(str(text).split()))


def format_code(text: object) -> str:
    """`text` on one line as a code span; not for tables, where a bar ends the cell."""
    line = " ".join(str(text).split())
    fence = "`" * (_longest(line) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{pad}{line}{pad}{fence}" if line else ""


def format_block(lines: Sequence[str]) -> list[str]:
    """Lines of Markdown that show `lines` as they are."""
    text = [part for line in lines for part in (re.split(r"[\r\n]", line) or [""])]
    fence = "`" * max(3, _longest("\n".join(text)) + 1)
    return [fence, *text, fence]


def defuse(text: str) -> str:
    """A text of Markdown, its headings, lists and tables as before, without what leads or loads
    from elsewhere.
    """
    text = re.sub(r"\\?<", "&lt;", text)
    text = re.sub(r"\](?=[\[(:])", r"]&#8203;", text).replace("![", "!&#8203;[")
    return re.sub(
        r"(?<=www)\.", "&#46;", text.replace("://", "&#58;//"), flags=re.IGNORECASE
    ).replace("@", "&#64;")


def _longest(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
