"""`captionseg difference cocu-mil nouns-mil`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(commands: argparse._SubParsersAction) -> None:
    """Add `difference` and its arguments."""
    one = commands.add_parser(
        "difference", help="test whether one recipe beats another", description=run.__doc__
    )
    one.add_argument("recipe", help="a recipe of params.yaml")
    one.add_argument("other", help="the recipe to compare it with")
    one.add_argument(
        "--areas",
        type=Path,
        default=Path("reports/areas"),
        help="folder of the areas that stage evaluate wrote, or `captionseg evaluate --areas` "
        "(default: %(default)s)",
    )
    one.add_argument(
        "--seeds",
        action="store_true",
        help="draw the trained seeds as well as the pictures, so that the interval also holds for "
        "other seeds",
    )
    one.add_argument(
        "--bootstrap",
        type=int,
        default=10_000,
        metavar="N",
        help="number of bootstrap samples (default: %(default)s)",
    )
    one.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the mIoU of one recipe minus that of another on the pictures that both were scored on,
    the run's own test pictures by default, with the 95 % interval of a paired bootstrap over
    pictures.
    """
    from captionseg.records import UserError
    from captionseg.reporting.differences import compute_difference

    if arguments.bootstrap < 1:
        raise UserError("--bootstrap must be at least 1")
    difference = compute_difference(
        arguments.areas,
        arguments.recipe,
        arguments.other,
        samples=arguments.bootstrap,
        seed=0,
        resample_seeds=arguments.seeds,
    )
    print(
        f"{arguments.recipe} minus {arguments.other}: {difference.mean:+.2f} mIoU (95 % interval "
        f"{difference.low:+.2f} to {difference.high:+.2f}), better in "
        f"{100 * difference.better:.1f} % of {arguments.bootstrap} bootstrap samples"
    )
