"""Rules of experiments on other data, such as photographs with captions that people wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from captionseg.reporting.comparison.comparison import Comparison
from captionseg.reporting.comparison.document import Block, Cell, Row, Table, Text
from captionseg.reporting.comparison.results import Run
from captionseg.reporting.rendering import DASH

MEASURES = {
    "precision_at_4": "precision of the first 4 added",
    "average_precision": "average precision",
    "sampled_precision": "precision, as drawn",
    "sampled_recall": "recall, as drawn",
}


def build_other_data(data: Comparison) -> list[Block]:
    """Build a table of the rules of each experiment on other data that has held-out captions; none
    without such an experiment.
    """
    tables = [_table(run) for run in data.others if _list_measured(run)]
    if not tables:
        return []
    note = (
        "Measured by captions of the same picture that no rule saw, with 95 % intervals. A concept "
        "that no caption names may be there all the same, so precisions are lower bounds. Rules "
        "of one table can be compared, numbers of different data cannot."
    )
    return [Text((note,)), *tables]


def _list_measured(run: Run) -> dict[str, Mapping[str, float]]:
    """Rule -> its measures by held-out captions, for rules that have them."""
    return {
        rule: values["held_out"]
        for rule, values in run.curation.items()
        if isinstance(values, Mapping) and values.get("held_out")
    }


def _table(run: Run) -> Table:
    rows = [
        Row([Cell(rule), *(_cell(values, name) for name in MEASURES)])
        for rule, values in _list_measured(run).items()
    ]
    return Table(f"{run.name}: {run.about}", ("rule", *MEASURES.values()), rows)


def _cell(values: Mapping[str, float], name: str) -> Cell:
    value, ends = values.get(name), [values.get(f"{name}_{end}") for end in ("low", "high")]
    if not value:  # a rule that adds nothing has no precision of what it adds
        return Cell(DASH)
    return Cell(f"{value:.3f}", _span(ends))


def _span(ends: Sequence[float | None]) -> str:
    low, high = ends
    return "" if low is None or high is None else f"{low:.3f} \N{EN DASH} {high:.3f}"
