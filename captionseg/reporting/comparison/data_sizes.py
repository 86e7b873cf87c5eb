"""CoCu's Table 2 on our own pictures: the same recipes, trained on fewer of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from captionseg.reporting.comparison.comparison import Comparison
from captionseg.reporting.comparison.document import Block, Cell, Listing, Row, Table, Text
from captionseg.reporting.comparison.results import OWN, Result, Run
from captionseg.reporting.comparison.score_tables import format_gain
from captionseg.reporting.rendering import DASH, format_number

SOURCE = "photo_scenes"
"""The source whose number of training pictures the experiments change."""
SIZES = ("scenes_quarter", "scenes_half")
"""Experiments that train on fewer pictures than the default run."""
RECIPES = ("nouns-mil", "cocu-mil", "cocu_calibrated-mil")
HEAD = ("training pictures", "run", "recipe", "mIoU", "sd over seeds", "over its baseline")
TITLE = "CoCu, Table 2, on our own pictures: recipes by the number of training pictures"


def build_data_sizes(data: Comparison) -> list[Block]:
    """Build a table of recipes by the number of training pictures, and list the commands that
    would add sizes; nothing if the default run has pictures of another source.
    """
    default = data.runs[0]
    if default.data.source != SOURCE or data.has_no_masks:
        return []
    runs = [run for run in data.others if run.name in SIZES and run.data.source == SOURCE]
    ordered = sorted([default, *runs], key=count_training_pictures)
    rows = [row for run in ordered for row in list_rows(run)]
    note = (
        "mIoU, %. Each size is a run of its own on other data, with its own vocabulary, alignment "
        "and neighbours, so its numbers stand in no other table of this page. All sizes are scored "
        "on the same test pictures."
    )
    absent = [name for name in SIZES if name not in {run.name for run in runs}]
    commands = "\n".join(f"make experiment NAME={name}" for name in absent)
    return [
        *([Table(TITLE, HEAD, rows), Text((note,), small=True)] if rows else []),
        *([Text(("To add sizes:",), small=True), Listing(commands)] if absent else []),
    ]


def count_training_pictures(run: Run) -> int:
    """Return the number of training pictures; composed pictures all have a mask. 0 if unknown."""
    return (run.data.masks or {}).get("train", 0)


def list_rows(run: Run) -> Iterator[Row]:
    """Yield a row for each recipe that the run has a score of."""
    count = count_training_pictures(run)
    for name in RECIPES:
        result = find_score(run.results, name, run.home)
        if result:
            spread = result.scores.get("miou_std") if len(result.seeds) != 1 else None
            yield Row(
                [
                    Cell(f"{count:,}" if count else DASH),
                    Cell(run.name or "the default run", kind="text"),
                    Cell(name, kind="text"),
                    Cell(format_number(result.scores["miou"]), result.interval()),
                    Cell(format_number(spread, 2), f"{len(result.seeds)} seeds"),
                    format_gain(result.baseline),
                ]
            )


def find_score(results: Sequence[Result], recipe: str, benchmark: str) -> Result | None:
    """Find the result of a recipe on a run's own pictures by its own protocol."""
    key = (recipe, benchmark, OWN)
    return next(
        (r for r in results if (r.recipe, r.benchmark, r.protocol) == key and "miou" in r.scores),
        None,
    )
