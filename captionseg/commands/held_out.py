"""`captionseg held-out --rows 2000:`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(commands: argparse._SubParsersAction) -> None:
    """Add `held-out` and its arguments."""
    one = commands.add_parser(
        "held-out",
        help="how right each rule is, by captions that it never saw",
        description=run.__doc__,
    )
    one.add_argument(
        "--rows",
        default=":",
        metavar="FROM:TO",
        help="only these pairs, of all sorted by source row, counted from 0, without TO: choose "
        "values on :2000, judge them on 2000: (default: all)",
    )
    one.add_argument("--json", action="store_true", help="all values, as JSON")
    one.add_argument(
        "--data", type=Path, default=Path("data"), help="of the run (default: %(default)s)"
    )
    one.add_argument(
        "--params",
        type=Path,
        default=Path("params.yaml"),
        help="of the run, for the seed and curate.sampled (default: %(default)s)",
    )
    one.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print a table of the run's rules: precision and recall of the concepts that a rule adds to
    those of the caption, and of what training draws. Truth is what held-out captions of the same
    picture name, so values are lower bounds; they compare rules on one data set."""
    import json

    from captionseg.params import Params
    from captionseg.reporting.held_out_rules import format_measures, measure_rules, parse_rows

    params = Params(arguments.params)
    measures = measure_rules(
        arguments.data / "pairs",
        arguments.data / "supervision",
        parse_rows(arguments.rows),
        sampled=params.curate.sampled,
        seed=params.seed,
    )
    print(
        json.dumps(measures, indent=2) if arguments.json else "\n".join(format_measures(measures))
    )
