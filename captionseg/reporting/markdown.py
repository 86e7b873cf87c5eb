"""Words and tables in Markdown."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from captionseg.markdown import escaped

__all__ = ["escaped", "table"]


def table(
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
