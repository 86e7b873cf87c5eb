"""`captionseg compare latest~1 latest`."""

from __future__ import annotations

from pathlib import Path

import click

from captionseg.commands.options import make_command


@make_command("compare", "compare MLflow runs side by side")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--all", "every", is_flag=True, help="also show metrics that are equal in all runs")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "markdown"]),
    default="text",
    show_default=True,
    help="output format",
)
def command(runs: tuple[str, ...], every: bool, form: str) -> None:
    """Print the params that differ between runs, and their metrics; for two runs also the
    differences.

    A RUN is its id or the first characters of it, or its name; `latest`, `latest~1`
    (reproductions); `latest/cocu-mil` (a recipe or stage of one); `champion`, `challenger`.
    """
    from captionseg.records import UserError
    from captionseg.tracking.run_comparison import FORMATS, connect, resolve, tabulate

    if len(runs) < 2:
        raise UserError(
            "compare: give at least two runs, for example: captionseg compare latest~1 latest"
        )
    client, experiment = connect(Path())
    table = tabulate([resolve(client, experiment, word) for word in runs], all_metrics=every)
    print(FORMATS[form](table))
