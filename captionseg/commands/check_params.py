"""`captionseg check-params`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(commands: argparse._SubParsersAction) -> None:
    """The arguments of `check-params`."""
    one = commands.add_parser("check-params", help="check params.yaml", description=run.__doc__)
    one.add_argument(
        "params", type=Path, nargs="?", default=Path("params.yaml"), help="default: %(default)s"
    )
    one.add_argument(
        "--no-files",
        action="store_true",
        help="do not look for the files and folders that it names",
    )
    one.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Read every section of params.yaml and every rule of its gate; say what does not fit and what
    would.
    """
    from captionseg.checks import check
    from captionseg.params import Params

    params = Params(arguments.params)
    check(params, done=params.SECTIONS if arguments.no_files else ())
    print(
        f"{arguments.params}: fine ({len(params.recipes)} recipes, {len(params.gate)} rules of the "
        "gate)"
    )
