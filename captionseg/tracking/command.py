"""The commands `compare` and `sync`, which import what they need when they run."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_compare(commands: argparse._SubParsersAction) -> None:
    """The arguments of `compare`."""
    one = commands.add_parser(
        "compare", help="runs of MLflow side by side", description=compare.__doc__
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
    one.set_defaults(run=compare)


def compare(arguments: argparse.Namespace) -> None:
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
    table = tabulate(
        [resolve(client, experiment, word) for word in arguments.runs], all_metrics=arguments.all
    )
    print(FORMATS[arguments.format](table))


def add_sync(commands: argparse._SubParsersAction) -> None:
    """The arguments of `sync`."""
    one = commands.add_parser("sync", help="show in MLflow what is here", description=sync.__doc__)
    one.set_defaults(run=sync)


def sync(arguments: argparse.Namespace) -> None:
    """Make MLflow show what the files of this checkout hold: a run for each recipe, the numbers,
    the champion. Nothing is added where it shows them already. `make repro` and the flow end with
    it; a plain `dvc repro` needs it only where no stage ran, since all came from DVC's cache.
    """
    from captionseg.tracking.environment import is_off

    if is_off():
        print("sync: CAPTIONSEG_TRACKING is off, so nothing is recorded")
        return
    from captionseg.tracking.synchronise import synchronise

    print(f"sync: {synchronise(Path())}")
