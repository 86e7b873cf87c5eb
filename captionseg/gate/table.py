"""The findings of the gate as a table for a terminal and as a comment on a pull request."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from captionseg.markdown import escape, format_table

Outcome = Literal["PASS", "MISS", "SKIP", "NOTE"]

MARK = "<!-- the gate of captionseg -->"
"""The first line of the comment, by which the next run recognizes it."""


@dataclass(frozen=True)
class Finding:
    """One check.

    Attributes:
        outcome: PASS, MISS, SKIP for what cannot be measured on these data, or NOTE for what is
            worth saying. The last two fail nothing.
        cells: text of each column; trailing empty ones may be left out.
    """

    outcome: Outcome
    cells: Sequence[str]


@dataclass(frozen=True)
class Section:
    """One of the things that the gate checks.

    Attributes:
        title: its name.
        about: where its bounds come from.
        head: names of the columns. The first and the last hold words, those between them numbers.
        findings: its rows.
    """

    title: str
    about: str
    head: Sequence[str]
    findings: Sequence[Finding]

    def count(self, *outcomes: Outcome) -> int:
        """How many findings have one of these outcomes."""
        return sum(finding.outcome in outcomes for finding in self.findings)

    def rows(self, *outcomes: Outcome) -> list[list[str]]:
        """The findings with one of these outcomes (of all, if none is given) as rows of text, the
        outcome in front.
        """
        return [
            [one.outcome, *one.cells, *[""] * (len(self.head) - len(one.cells))]
            for one in self.findings
            if not outcomes or one.outcome in outcomes
        ]


def summarize(sections: Sequence[Section]) -> tuple[bool, str]:
    """Whether nothing was missed, and a sentence that says so."""
    missed = sum(section.count("MISS") for section in sections)
    checks = missed + sum(section.count("PASS") for section in sections)
    skipped = sum(section.count("SKIP") for section in sections)
    text = (
        f"gate missed: {missed} of {checks} checks" if missed else f"gate passed: {checks} checks"
    )
    return not missed, text + (
        f", {skipped} skipped: not measured on these data" if skipped else ""
    )


def format_number(value: float | None, sign: str = "") -> str:
    """Six digits; nothing for no number."""
    return "" if value is None else f"{value:{sign}.6g}"


def render_terminal(sections: Sequence[Section]) -> list[str]:
    """Lines for a terminal, the summary last."""
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
    """The comment: the summary, what was missed, the extra tables, all tables folded, links.

    Args:
        sections: what the gate checks.
        extra: tables that decide nothing, left out where they are empty.
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
    """The comment where there is no verdict, so that none of an earlier run is left standing."""
    return f"{MARK}\n\n## Gate could not be judged\n\n{escape(str(error))}\n"


def _fold(section: Section) -> list[str]:
    passed, checks = section.count("PASS"), section.count("PASS", "MISS")
    counts = f"{passed} of {checks} hold" if checks else "nothing to hold"
    # HTML, in which Markdown is not read
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
