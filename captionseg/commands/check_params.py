"""`captionseg check-params`."""

from __future__ import annotations

from pathlib import Path

import click

from captionseg.commands.options import PATH, make_command


@make_command("check-params", "check params.yaml")
@click.argument("params", type=PATH, default=Path("params.yaml"))
@click.option("--no-files", is_flag=True, help="do not check that files and folders it names exist")
def command(params: Path, no_files: bool) -> None:
    """Check every section of params.yaml and every rule of its gate; report each mistake and how to
    fix it, and parts whose licence forbids commercial use or is not known. PARAMS is another file.
    """
    from captionseg.checks.check import check
    from captionseg.checks.licences import list_forbidding, list_unknown
    from captionseg.params import Params

    read = Params(params)
    check(read, done=read.SECTIONS if no_files else ())
    print(f"{params}: valid ({len(read.recipes)} recipes, {len(read.gate)} gate rules)")
    for line in (*list_forbidding(read), *list_unknown(read)):
        print(line)
