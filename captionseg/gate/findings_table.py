"""Renders the findings of the gate as tables for a terminal and as a pull-request comment."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from captionseg.storage.markdown import escape, format_table

Outcome = Literal["PASS", "MISS", "SKIP", "NOTE"]

MARK = "<!-- the gate of captionseg -->"
"""The first line of the comment; the next run finds the comment by it."""


@dataclass(frozen=True)
class Finding:
    """One check.

    Attributes:
        outcome: PASS, MISS, SKIP (not measurable on these data) or NOTE (information). SKIP and
            NOTE do not fail the gate.
        cells: text of each column; trailing empty ones may be left out.
    """

    outcome: Outcome
    cells: Sequence[str]


@dataclass(frozen=True)
class Section:
    """One of the gate's checks.

    Attributes:
        title: its name.
        about: where its bounds come from.
        head: column names. The first and the last column hold words, the others numbers.
        findings: its rows.
    """

    title: str
    about: str
    head: Sequence[str]
    findings: Sequence[Finding]

    def count(self, *outcomes: Outcome) -> int:
        """Count the findings with one of these outcomes."""
        return sum(finding.outcome in outcomes for finding in self.findings)

    def rows(self, *outcomes: Outcome) -> list[list[str]]:
        """Return the findings with one of these outcomes (default: any) as rows of text that start
        with the outcome.
        """
        return [
            [one.outcome, *one.cells, *[""] * (len(self.head) - len(one.cells))]
            for one in self.findings
            if not outcomes or one.outcome in outcomes
        ]


def summarize(sections: Sequence[Section]) -> tuple[bool, str]:
    """Return whether the gate passed, and a one-line summary."""
    missed = sum(section.count("MISS") for section in sections)
    checks = missed + sum(section.count("PASS") for section in sections)
    skipped = sum(section.count("SKIP") for section in sections)
    text = (
        f"gate failed: {missed} of {checks} checks" if missed else f"gate passed: {checks} checks"
    )
    return not missed, text + (
        f", {skipped} skipped: not measurable on these data" if skipped else ""
    )


def format_number(value: float | None, sign: str = "") -> str:
    """Format a number with six significant digits; None as empty text."""
    return "" if value is None else f"{value:{sign}.6g}"


def render_terminal(sections: Sequence[Section]) -> list[str]:
    """Return the lines for a terminal, the summary last."""
    lines: list[str] = []
    for section in sections:
        rows = [["", *section.head], *section.rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        words = (0, 1, len(widths) - 1)
        lines.append(f"{section.title} ({section.about})")
        for row in rows if section.findings else ():
            cells = [
                cell.ljust(width) if i in words else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append(f"  {'  '.join(cells)}".rstrip())
        lines.append("")
    return [*lines, summarize(sections)[1]]


def render_comment(
    sections: Sequence[Section],
    *,
    extra: Sequence[Section] = (),
    links: Mapping[str, str] | None = None,
) -> str:
    """Render the comment: summary, missed checks, extra tables, all tables collapsed, links.

    Args:
        sections: the gate's checks.
        extra: tables for information; empty ones are left out.
        links: targets by name.
    """
    title = summarize(sections)[1]
    blocks = [MARK, f"## {title[0].upper()}{title[1:]}"]
    for section in sections:
        if rows := section.rows("MISS", "SKIP"):
            blocks += [f"### {escape(section.title)}", _render_table(section, rows)]
    for section in extra:
        if section.findings:
            blocks += [
                f"### {escape(section.title)}",
                escape(section.about),
                _render_table(section, section.rows(), outcome=False),
            ]
    for section in sections:
        blocks += _fold(section)
    if links:
        blocks.append(" | ".join(f"[{escape(name)}]({target})" for name, target in links.items()))
    return "\n\n".join(blocks) + "\n"


def render_failure(error: object) -> str:
    """Render the comment for a gate that could not run; it replaces the verdict of an
    earlier run.
    """
    return f"{MARK}\n\n## The gate could not run\n\n{escape(str(error))}\n"


def _fold(section: Section) -> list[str]:
    passed, checks = section.count("PASS"), section.count("PASS", "MISS")
    counts = f"{passed} of {checks} passed" if checks else "no checks"
    # inside HTML, Markdown is not rendered
    summary = html.escape(f"{section.title}: {counts} ({section.about})")
    tables = [_render_table(section, section.rows())] if section.findings else []
    return [f"<details><summary>{summary}</summary>", *tables, "</details>"]


def _render_table(section: Section, rows: Sequence[Sequence[str]], *, outcome: bool = True) -> str:
    first = 0 if outcome else 1
    head = ["", *map(escape, section.head)][first:]
    words = {0, len(head) - 1} | ({1} if outcome else set())
    return "\n".join(
        format_table(head, [[escape(cell) for cell in row[first:]] for row in rows], words)
    )
