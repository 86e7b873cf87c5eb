"""A page as data, and its two forms: Markdown, and HTML that looks like the report's page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from captionseg.markdown import escape, fence
from captionseg.markdown import format_table as lines
from captionseg.reporting.rendering import render

Kind = Literal["", "text", "best", "up", "down", "absent"]


@dataclass(frozen=True)
class Code:
    """Words of a sentence that are typed as they stand."""

    text: str


@dataclass(frozen=True)
class Link:
    """Words of a sentence that lead somewhere."""

    text: str
    target: str


@dataclass(frozen=True)
class Text:
    """A paragraph; small where it explains what stands above it."""

    parts: Sequence[str | Code | Link]
    small: bool = False


@dataclass(frozen=True)
class Cell:
    """One cell: what it says, what it says smaller below, and what of it is to be seen at once."""

    text: str
    more: str = ""
    kind: Kind = ""


@dataclass(frozen=True)
class Row:
    """A row; `theirs` where its numbers are a paper's, not ours."""

    cells: Sequence[Cell]
    theirs: bool = False


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        caption: what it shows, for those who hear the page too.
        head: names of the columns.
        rows: as many cells each as the head has.
        theirs: columns whose numbers are a paper's in every row.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Row]
    theirs: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        wrong = [row for row in self.rows if len(row.cells) != len(self.head)]
        if wrong:
            raise ValueError(
                f"{self.caption}: {len(self.head)} columns, but a row has {len(wrong[0].cells)} "
                "cells"
            )

    @property
    def words(self) -> frozenset[int]:
        """Columns that hold words, not numbers: they start at the left."""
        texts = {i for row in self.rows for i, cell in enumerate(row.cells) if cell.kind == "text"}
        return frozenset({0} | texts)


@dataclass(frozen=True)
class Figure:
    """A picture beside the page; `dark` is shown on dark pages."""

    path: str
    alt: str
    dark: str = ""


@dataclass(frozen=True)
class Listing:
    """Lines for a terminal."""

    text: str


Block = Text | Table | Figure | Listing


@dataclass(frozen=True)
class Section:
    """A part of the page that can be linked to."""

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
    """The page for a browser: light and dark, without scripts; all that others wrote is escaped."""
    kinds = {kind.__name__.lower(): _make_test(kind) for kind in (Text, Table, Figure, Code, Link)}
    return render("comparison.html", {"document": document}, kinds)


def _make_test(kind: type) -> Callable[[object], bool]:
    return lambda value: isinstance(value, kind)


# ------------------------------------------------------------------------------------------------
# Markdown


def render_markdown(document: Document) -> str:
    """The page for a terminal and for hosts of repositories; rows and columns of papers are in
    italics.
    """
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
