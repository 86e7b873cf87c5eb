"""The content of a page, rendered as Markdown and as HTML in the style of the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from captionseg.reporting.charts import ChartSize
from captionseg.reporting.rendering import render
from captionseg.storage.markdown import escape, fence
from captionseg.storage.markdown import format_table as lines

Kind = Literal["", "text", "best", "up", "down", "absent"]


@dataclass(frozen=True)
class Code:
    """Code inside a sentence."""

    text: str


@dataclass(frozen=True)
class Link:
    """A link inside a sentence."""

    text: str
    target: str


@dataclass(frozen=True)
class Text:
    """A paragraph; `small` for a note on the block above."""

    parts: Sequence[str | Code | Link]
    small: bool = False


@dataclass(frozen=True)
class Cell:
    """A table cell: its text, a smaller text below, and its highlighting."""

    text: str
    more: str = ""
    kind: Kind = ""


@dataclass(frozen=True)
class Row:
    """A table row; `theirs` if its numbers are from a paper."""

    cells: Sequence[Cell]
    theirs: bool = False


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        caption: what it shows, also for screen readers.
        head: column names.
        rows: one cell per column each.
        theirs: columns with numbers from a paper in every row.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Row]
    theirs: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        wrong = [row for row in self.rows if len(row.cells) != len(self.head)]
        if wrong:
            raise ValueError(
                f"{self.caption}: {len(self.head)} columns, but a row with {len(wrong[0].cells)} "
                "cells"
            )

    @property
    def words(self) -> frozenset[int]:
        """Columns of words, which are left-aligned."""
        texts = {i for row in self.rows for i, cell in enumerate(row.cells) if cell.kind == "text"}
        return frozenset({0} | texts)


@dataclass(frozen=True)
class Figure:
    """A picture in a file next to the page.

    Attributes:
        path: path of the file.
        alt: what it shows, for those who do not see it.
        width: in pixels.
        height: in pixels.
    """

    path: str
    alt: str
    width: int
    height: int


@dataclass(frozen=True)
class Chart:
    """A chart in files next to the page, see captionseg.reporting.charts.

    Attributes:
        path: path of the files, without suffix.
        alt: what it shows, for those who do not see it.
        size: of its files.
    """

    path: str
    alt: str
    size: ChartSize


@dataclass(frozen=True)
class Listing:
    """Commands for a terminal."""

    text: str


Block = Text | Table | Figure | Chart | Listing


@dataclass(frozen=True)
class Section:
    """A section of the page, with an id for links."""

    id: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Document:
    """The whole page."""

    title: str
    lede: Text
    sections: Sequence[Section]


# ------------------------------------------------------------------------------------------------
# HTML


def render_html(document: Document) -> str:
    """Render the page as HTML: light and dark, without scripts; all values are escaped."""
    kinds = {
        kind.__name__.lower(): _make_test(kind) for kind in (Text, Table, Figure, Chart, Code, Link)
    }
    return render("comparison.html", {"document": document}, kinds)


def _make_test(kind: type) -> Callable[[object], bool]:
    return lambda value: isinstance(value, kind)


# ------------------------------------------------------------------------------------------------
# Markdown


def render_markdown(document: Document) -> str:
    """Render the page as Markdown; numbers from papers are in italics."""
    parts = [f"# {escape(document.title)}", _block(document.lede)]
    for section in document.sections:
        parts += [f"## {escape(section.title)}", *(_block(block) for block in section.blocks)]
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> str:
    if isinstance(block, Text):
        return "".join(_inline(part) for part in block.parts)
    if isinstance(block, Table):
        return "\n".join([f"### {escape(block.caption)}", "", *_table(block)])
    if isinstance(block, Figure):
        return f"![{escape(block.alt)}]({quote(block.path)})"
    if isinstance(block, Chart):
        return f"![{escape(block.alt)}]({quote(block.path)}.png)"
    return fence(block.text)


def _inline(part: str | Code | Link) -> str:
    if isinstance(part, Code):
        return f"`{' '.join(part.text.replace('`', '').split())}`"
    return (
        f"[{escape(part.text)}]({quote(part.target)})" if isinstance(part, Link) else escape(part)
    )


def _table(table: Table) -> list[str]:
    rows = [
        [_cell(cell, row.theirs or i in table.theirs) for i, cell in enumerate(row.cells)]
        for row in table.rows
    ]
    return lines([escape(name) for name in table.head], rows, table.words)


def _cell(cell: Cell, theirs: bool) -> str:
    text = escape(f"{cell.text} ({cell.more})" if cell.more else cell.text)
    if not text:
        return ""
    if theirs:
        return f"*{text}*"
    return f"**{text}**" if cell.kind == "best" else text
