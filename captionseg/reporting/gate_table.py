"""What the gate found, as a table for a terminal and as a comment on a pull request."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from captionseg.reporting.markdown import escaped, table

Outcome = Literal["PASS", "MISS", "SKIP", "NOTE"]

MARK = "<!-- the gate of captionseg -->"
"""The first line of the comment, by which the next run finds it."""


@dataclass(frozen=True)
class Line:
    """One thing that was looked at.

    Attributes:
        outcome: PASS, MISS, SKIP for what cannot be measured on these data, or NOTE for what is
            worth saying. The last two fail nothing.
        cells: text of each column; those that are left out are empty.
    """

    outcome: Outcome
    cells: Sequence[str]


@dataclass(frozen=True)
class Part:
    """One of the things that the gate looks after.

    Attributes:
        title: its name.
        about: where its bounds come from.
        head: names of the columns. The first and the last hold words, those between them numbers.
        lines: what was looked at.
    """

    title: str
    about: str
    head: Sequence[str]
    lines: Sequence[Line]

    def rows(
        self, outcomes: Sequence[Outcome] = ("PASS", "MISS", "SKIP", "NOTE")
    ) -> list[list[str]]:
        """The lines as rows of text, the outcome in front."""
        blank = [""] * len(self.head)
        return [
            [line.outcome, *line.cells, *blank[len(line.cells) :]]
            for line in self.lines
            if line.outcome in outcomes
        ]


def verdict(parts: Sequence[Part]) -> tuple[bool, str]:
    """Whether nothing was missed, and that in words."""
    missed, looked = (
        sum(line.outcome in outcomes for part in parts for line in part.lines)
        for outcomes in (("MISS",), ("MISS", "PASS"))
    )
    skipped = sum(line.outcome == "SKIP" for part in parts for line in part.lines)
    said = (
        f"gate missed: {missed} of {looked} checks" if missed else f"gate passed: {looked} checks"
    )
    return not missed, said + (
        f", {skipped} skipped: not measured on these data" if skipped else ""
    )


def number(value: float | None, sign: str = "") -> str:
    """Six digits; nothing for no number."""
    return "" if value is None else f"{value:{sign}.6g}"


def terminal(parts: Sequence[Part]) -> list[str]:
    """Lines for a terminal, the verdict last."""
    out: list[str] = []
    for part in parts:
        rows = [["", *part.head], *part.rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        last = len(widths) - 1
        out += [f"{part.title} ({part.about})"]
        for row in rows[1:] and rows:
            cells = [
                cell.ljust(width) if i in (0, 1, last) else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            out.append(f"  {'  '.join(cells)}".rstrip())
        out.append("")
    return [*out, verdict(parts)[1]]


def markdown(
    parts: Sequence[Part], *, extra: Sequence[Part] = (), links: Mapping[str, str] | None = None
) -> str:
    """The comment: the verdict, what was missed, the extra tables, all tables to be unfolded,
    links.

    Args:
        parts: what the gate looks after.
        extra: tables that decide nothing, shown before those of the parts where they have lines.
        links: targets by name.
    """
    title = verdict(parts)[1]
    out = [MARK, f"## {title[0].upper()}{title[1:]}"]
    for part in parts:
        if rows := part.rows(("MISS", "SKIP")):
            out += [f"### {escaped(part.title)}", _table(part, rows)]
    for part in extra:
        if rows := part.rows():
            out += [
                f"### {escaped(part.title)}",
                escaped(part.about),
                _table(part, rows, outcome=False),
            ]
    for part in parts:
        passed, missed = (len(part.rows((outcome,))) for outcome in ("PASS", "MISS"))
        inside = [_table(part, part.rows())] if part.lines else []
        counts = f"{passed} of {passed + missed} hold" if passed + missed else "nothing to hold"
        summary = html.escape(f"{part.title}: {counts} ({part.about})")  # no Markdown inside of it
        out += [f"<details><summary>{summary}</summary>", *inside, "</details>"]
    if links:
        out.append(" | ".join(f"[{escaped(name)}]({target})" for name, target in links.items()))
    return "\n\n".join(out) + "\n"


def unjudged(error: object) -> str:
    """The comment where there is no verdict, so that none of an earlier run is left standing."""
    return f"{MARK}\n\n## Gate could not be judged\n\n{escaped(str(error))}\n"


def _table(part: Part, rows: Sequence[Sequence[str]], *, outcome: bool = True) -> str:
    first = 0 if outcome else 1
    head = ["", *map(escaped, part.head)][first:]
    words = {0, len(head) - 1} | ({1} if outcome else set())
    cells = [[escaped(cell) for cell in row[first:]] for row in rows]
    return "\n".join(table(head, cells, words))
