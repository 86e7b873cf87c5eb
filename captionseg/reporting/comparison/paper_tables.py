"""The papers' tables with our numbers; the papers' and ours are always in different rows or
columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from captionseg.reporting.comparison.columns import AVERAGE, HOME, LARGEST_OBJECT, OF_CLASS, Column
from captionseg.reporting.comparison.comparison import Comparison
from captionseg.reporting.comparison.data_sizes import build_data_sizes
from captionseg.reporting.comparison.document import Block, Cell, Listing, Row, Table, Text
from captionseg.reporting.comparison.papers import TABLES, PaperTable
from captionseg.reporting.comparison.results import OWN
from captionseg.reporting.comparison.row_recipes import COMMANDS, EVALUATE, EVALUATE_OWN
from captionseg.reporting.comparison.score_tables import format_gain
from captionseg.reporting.rendering import DASH, format_number

NOT_RUN = "not run"


class Missing(NamedTuple):
    """A recipe that was not run on a benchmark; HOME is the run's own pictures."""

    recipe: str
    benchmark: str


def build_blocks(data: Comparison) -> tuple[list[Block], set[Missing]]:
    """Build every table with its notes and the commands that fill its gaps; return all gaps too."""
    out: list[Block] = []
    gaps: set[Missing] = set()
    for paper in TABLES:
        table, missing = (build_paired_table if paper.pairs else build_stacked_table)(paper, data)
        notes = " ".join([f"{paper.metric}, %.", *paper.notes])
        out += [table, Text((notes,), small=True)]
        if missing:
            out += [
                Text((f"To fill the cells marked {NOT_RUN}:",), small=True),
                Listing(list_commands(missing)),
            ]
        gaps |= set(missing)
        if paper.file == "cocu_2":
            out += build_data_sizes(data)
    return out, gaps


def build_stacked_table(paper: PaperTable, data: Comparison) -> tuple[Table, list[Missing]]:
    """Build a table with the paper's rows, then ours; its columns are the paper's benchmarks and
    our own pictures.
    """
    first, columns = (
        paper.words[0],
        {**paper.columns, **{f"own {i}": c for i, c in enumerate(paper.own)}},
    )
    titles = [
        f"{title_own_column(c, data)} (ours)" if c in paper.own else c.title
        for c in columns.values()
    ]
    theirs = [
        Row(
            [
                Cell(row[first], describe_row(paper, row)),
                Cell("paper", kind="text"),
                *(Cell(row.get(name) or DASH) for name in columns),
            ],
            theirs=True,
        )
        for row in paper.rows
    ]
    missing: list[Missing] = []
    ours = list_own_rows(paper, data, list(columns.values()), missing)
    title = f"{paper.paper}, Table {paper.number}: {paper.about}. The paper's rows, then ours"
    return Table(title, [first, "source", *titles], [*theirs, *ours]), missing


def list_own_rows(
    paper: PaperTable, data: Comparison, columns: Sequence[Column], missing: list[Missing]
) -> Iterator[Row]:
    """Yield a row for each recipe and protocol; other protocols only if they have a score.

    Args:
        paper: the table.
        data: our results.
        columns: benchmarks.
        missing: results that we do not have are added here.
    """
    for recipe in paper.recipes:
        for protocol in dict.fromkeys([OWN, *data.protocols(recipe)]):
            mean = average_score(data, recipe, protocol, columns)
            cells = [
                mean
                if c is AVERAGE
                else make_cell(data, recipe, protocol, c, run=paper.run, missing=missing)
                for c in columns
            ]
            name = recipe if protocol == OWN else f"{recipe}, {protocol}"
            if protocol == OWN or any(cell.text != DASH for cell in cells):
                yield Row([Cell(name), Cell("ours", kind="text"), *cells])


def describe_row(paper: PaperTable, row: Mapping[str, str]) -> str:
    """Describe a paper's row by its other columns: a `yes` by the column's name, others by
    value.
    """
    words = []
    for name in paper.words[1:]:
        if row[name] == "yes":
            words.append(name)
        elif row[name] not in ("", "no"):
            words.append(f"{name} {row[name]}" if row[name].isdigit() else row[name])
    return "; ".join(words)


def build_paired_table(paper: PaperTable, data: Comparison) -> tuple[Table, list[Missing]]:
    """Build a table with the paper's rows and, in separate columns, our corresponding recipe."""
    words, columns = paper.words, paper.columns
    head = [
        *words,
        *(f"{c.title} (paper)" for c in columns.values()),
        "our recipe",
        *(f"{title_own_column(c, data)} (ours)" for c in paper.own),
    ]
    rows, missing = [], []
    for recipe, row in zip(paper.recipes, paper.rows, strict=True):
        ours = [
            make_cell(data, recipe, OWN, column, run=paper.run, missing=missing)
            for column in paper.own
        ]
        rows.append(
            Row(
                [
                    Cell(row[words[0]]),
                    *(Cell(row[w] or DASH, kind="text") for w in words[1:]),
                    *(Cell(row[name] or DASH) for name in columns),
                    Cell(recipe, kind="text"),
                    *ours,
                ]
            )
        )
    grey = frozenset(range(len(words), len(words) + len(columns)))
    title = f"{paper.paper}, Table {paper.number}: {paper.about}. The paper's numbers, then ours"
    return Table(title, head, rows, grey), missing


def title_own_column(column: Column, data: Comparison) -> str:
    """Return the heading of a column of our own pictures, with the name of their benchmark."""
    return column.title.replace("own pictures", data.home.replace("_", " "))


def make_cell(
    data: Comparison,
    recipe: str,
    protocol: str,
    column: Column,
    *,
    run: str,
    missing: list[Missing],
) -> Cell:
    """Return our number for a column; adds to `missing` what the recipe was not run on by its own
    protocol.
    """
    if column.benchmark is None:
        return Cell(DASH)
    result = data.of(
        recipe, data.home if column.benchmark == HOME else column.benchmark, protocol, first=run
    )
    if result is None:
        if column.benchmark in (HOME, LARGEST_OBJECT) and data.has_no_masks:
            return Cell("no masks", kind="absent")  # no command can fill it
        if protocol != OWN or (column.benchmark and column.score.startswith("miou_")):
            return Cell(DASH)  # none of the listed commands fills it
        missing.append(Missing(recipe, column.benchmark))
        return Cell(NOT_RUN, kind="absent")
    if column.score == "gain":
        return format_gain(result.baseline)
    if column.score.startswith(OF_CLASS):
        names = column.score.removeprefix(OF_CLASS).split(", ")
        known = [result.per_class[name] for name in names if name in result.per_class]
        return Cell(format_number(float(np.mean(known)) if len(known) == len(names) else None))
    return Cell(format_number(result.scores.get(column.score)), result.interval(column.score))


def average_score(data: Comparison, recipe: str, protocol: str, columns: Iterable[Column]) -> Cell:
    """Return the mean over a paper's benchmarks, if the recipe was scored on all of them."""
    names = [column.benchmark for column in columns if column.benchmark]
    results = [data.of(recipe, name, protocol) for name in names]
    scores = [result.scores["miou"] for result in results if result and "miou" in result.scores]
    return (
        Cell(format_number(float(np.mean(scores))))
        if scores and len(scores) == len(names)
        else Cell(DASH)
    )


def list_commands(missing: Iterable[Missing]) -> str:
    """Lines for a terminal, each once: first what trains, then what scores on own pictures and on
    published benchmarks.
    """
    missing = list(dict.fromkeys(missing))
    trained: dict[str, list[str]] = {}
    scored: dict[str, list[str]] = {}
    own = []
    for recipe, benchmark in missing:
        if benchmark == HOME:
            trained.setdefault(COMMANDS[recipe], []).append(recipe)
        elif benchmark == LARGEST_OBJECT:
            own.append(EVALUATE_OWN.format(recipe, benchmark))
        else:
            scored.setdefault(benchmark, []).append(recipe)
    lines = [f"{command}  # {', '.join(names)}" for command, names in trained.items()] + own
    if scored:
        benchmarks, recipes = (
            " ".join(scored),
            " ".join(dict.fromkeys(r for names in scored.values() for r in names)),
        )
        if len(scored) == 1 and " " not in recipes:
            lines.append(EVALUATE.format(recipes, benchmarks))
        else:
            inner = f"  for b in {benchmarks}; do {EVALUATE.format('$r', '$b')}; done"
            lines += [f"for r in {recipes}; do", inner, "done"]
    return "\n".join(lines)
