"""`captionseg held-out --rows 2000:`."""

from __future__ import annotations

from pathlib import Path

import click

from captionseg.commands.options import PATH, make_command


@make_command("held-out", "how right each rule is, by captions that it never saw")
@click.option(
    "--rows",
    default=":",
    metavar="FROM:TO",
    help="only these pairs, of all sorted by source row, counted from 0, without TO: choose values "
    "on :2000, judge them on 2000: (default: all)",
)
@click.option("--json", "as_json", is_flag=True, help="all values, as JSON")
@click.option("--data", type=PATH, default=Path("data"), show_default=True, help="of the run")
@click.option(
    "--params",
    type=PATH,
    default=Path("params.yaml"),
    show_default=True,
    help="of the run, for the seed and curate.sampled",
)
def command(rows: str, as_json: bool, data: Path, params: Path) -> None:
    """Print a table of the run's rules: precision and recall of the concepts that a rule adds to
    those of the caption, and of what training draws. Truth is what held-out captions of the same
    picture name, so values are lower bounds; they compare rules on one data set.
    """
    import json

    from captionseg.params import Params
    from captionseg.reporting.held_out_rules import format_measures, measure_rules, parse_rows

    read = Params(params)
    measures = measure_rules(
        data / "pairs",
        data / "supervision",
        parse_rows(rows),
        sampled=read.curate.sampled,
        seed=read.seed,
    )
    print(json.dumps(measures, indent=2) if as_json else "\n".join(format_measures(measures)))
