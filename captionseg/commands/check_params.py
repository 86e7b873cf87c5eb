"""`captionseg check-params`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(commands: argparse._SubParsersAction) -> None:
    """Add `check-params` and its arguments."""
    one = commands.add_parser("check-params", help="check params.yaml", description=run.__doc__)
    one.add_argument(
        "params", type=Path, nargs="?", default=Path("params.yaml"), help="default: %(default)s"
    )
    one.add_argument(
        "--no-files",
        action="store_true",
        help="do not check that the files and folders it names exist",
    )
    one.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Check every section of params.yaml and every rule of its gate; report each mistake and how to
    fix it.
    """
    from captionseg.checks.check import check
    from captionseg.params import Params

    params = Params(arguments.params)
    check(params, done=params.SECTIONS if arguments.no_files else ())
    print(
        f"{arguments.params}: valid ({len(params.recipes)} recipes, {len(params.gate)} gate rules)"
    )
