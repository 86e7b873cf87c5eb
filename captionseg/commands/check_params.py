"""`captionseg check-params`."""

from __future__ import annotations

from pathlib import Path

import click

from captionseg.commands.options import PATH, make_command


@make_command("check-params", "check params.yaml")
@click.argument("params", type=PATH, default=Path("params.yaml"))
@click.option("--no-files", is_flag=True, help="do not check that files and folders it names exist")
@click.option("--root", type=PATH, metavar="FOLDER", help="folder of the data of an experiment")
def command(params: Path, no_files: bool, root: Path | None) -> None:
    """Check every section of params.yaml and every rule of its gate; report each mistake and how to
    fix it, and parts whose licence forbids commercial use or is not known. PARAMS is another file,
    or an experiment of experiments/, which changes params.yaml.
    """
    from captionseg.checks.check import check
    from captionseg.checks.experiment_params import read_params
    from captionseg.checks.licences import list_forbidding, list_unknown

    read = read_params(params, root, files=not no_files)
    check(read, done=read.SECTIONS if no_files else ())
    counts = {"recipe": len(read.recipes), "gate rule": len(read.gate)}
    words = [f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items()]
    print(f"{params}: valid ({', '.join(words)})")
    for line in (*list_forbidding(read), *list_unknown(read)):
        print(line)
