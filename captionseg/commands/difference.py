"""`captionseg difference cocu-mil nouns-mil`."""

from __future__ import annotations

from pathlib import Path

import click

from captionseg.commands.options import PATH, make_command


@make_command("difference", "test whether one recipe beats another")
@click.argument("recipe")
@click.argument("other")
@click.option(
    "--areas",
    type=PATH,
    default=Path("reports/areas"),
    show_default=True,
    help="folder of the areas that stage evaluate wrote, or `captionseg evaluate --areas`",
)
@click.option(
    "--seeds",
    is_flag=True,
    help="draw the trained seeds as well as the pictures, so that the interval also holds for "
    "other seeds",
)
@click.option(
    "--bootstrap",
    type=int,
    default=10_000,
    show_default=True,
    metavar="N",
    help="number of bootstrap samples",
)
def command(recipe: str, other: str, areas: Path, seeds: bool, bootstrap: int) -> None:
    """Print the mIoU of one recipe minus that of another on the pictures that both were scored on,
    the run's own test pictures by default, with the 95 % interval of a paired bootstrap over
    pictures.
    """
    from captionseg.records import UserError
    from captionseg.reporting.differences import compute_difference

    if bootstrap < 1:
        raise UserError("--bootstrap must be at least 1")
    difference = compute_difference(
        areas, recipe, other, samples=bootstrap, seed=0, resample_seeds=seeds
    )
    print(
        f"{recipe} minus {other}: {difference.mean:+.2f} mIoU (95 % interval "
        f"{difference.low:+.2f} to {difference.high:+.2f}), better in "
        f"{100 * difference.better:.1f} % of {bootstrap} bootstrap samples"
    )
