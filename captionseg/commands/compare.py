"""`captionseg compare latest~1 latest`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(commands: argparse._SubParsersAction) -> None:
    """The arguments of `compare`."""
    one = commands.add_parser(
        "compare", help="runs of MLflow side by side", description=run.__doc__
    )
    one.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="a run's id, or the start of it; its name; `latest`, "
        "`latest~1` (reproductions); `latest/cocu-mil` (a recipe or stage of one); `champion`, "
        "`challenger`",
    )
    one.add_argument("--all", action="store_true", help="metrics that are equal in all runs, too")
    one.add_argument(
        "--format",
        choices=["text", "json", "markdown"],
        default="text",
        help="default: %(default)s",
    )
    one.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print what differs in the params of runs, and their metrics, with the difference where there
    are two.
    """
    from captionseg.records import UserError
    from captionseg.tracking.compare import FORMATS, connect, resolve, tabulate

    if len(arguments.runs) < 2:
        raise UserError(
            "compare: name at least two runs, for example: captionseg compare latest~1 latest"
        )
    client, experiment = connect(Path())
    found = tabulate(
        [resolve(client, experiment, word) for word in arguments.runs], every=arguments.all
    )
    print(FORMATS[arguments.format](found))
