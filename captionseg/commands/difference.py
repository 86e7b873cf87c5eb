"""`captionseg difference cocu-mil nouns-mil`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(commands: argparse._SubParsersAction) -> None:
    """The arguments of `difference`."""
    one = commands.add_parser(
        "difference", help="is one recipe better than another?", description=run.__doc__
    )
    one.add_argument("recipe", help="of params.yaml")
    one.add_argument("other", help="that it is compared with")
    one.add_argument(
        "--areas", type=Path, default=Path("reports/areas"), help="default: %(default)s"
    )
    one.add_argument(
        "--bootstrap",
        type=int,
        default=10_000,
        metavar="N",
        help="data sets drawn (default: %(default)s)",
    )
    one.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """mIoU of a recipe less that of another on the run's own test pictures, with the 95 % interval
    of a paired bootstrap over pictures."""
    from captionseg.records import UserError
    from captionseg.reporting.differences import compute_difference

    if arguments.bootstrap < 1:
        raise UserError("--bootstrap must not be below 1")
    found = compute_difference(
        arguments.areas, arguments.recipe, arguments.other, samples=arguments.bootstrap, seed=0
    )
    print(
        f"{arguments.recipe} less {arguments.other}: {found.mean:+.2f} mIoU  (95 % "
        f"{found.low:+.2f} to {found.high:+.2f}), ahead in {100 * found.better:.1f} % of "
        f"{arguments.bootstrap} data sets"
    )
