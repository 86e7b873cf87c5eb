"""`captionseg compare latest~1 latest`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(commands: argparse._SubParsersAction) -> None:
    """Add `compare` and its arguments."""
    one = commands.add_parser(
        "compare", help="compare MLflow runs side by side", description=run.__doc__
    )
    one.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="id of a run or its first characters; name of a run; `latest`, `latest~1` "
        "(reproductions); `latest/cocu-mil` (a recipe or stage of one); `champion`, "
        "`challenger`",
    )
    one.add_argument(
        "--all", action="store_true", help="also show metrics that are equal in all runs"
    )
    one.add_argument(
        "--format",
        choices=["text", "json", "markdown"],
        default="text",
        help="output format (default: %(default)s)",
    )
    one.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the params that differ between runs, and their metrics; for two runs also the
    differences.
    """
    from captionseg.records import UserError
    from captionseg.tracking.run_comparison import FORMATS, connect, resolve, tabulate

    if len(arguments.runs) < 2:
        raise UserError(
            "compare: give at least two runs, for example: captionseg compare latest~1 latest"
        )
    client, experiment = connect(Path())
    table = tabulate(
        [resolve(client, experiment, word) for word in arguments.runs], all_metrics=arguments.all
    )
    print(FORMATS[arguments.format](table))
