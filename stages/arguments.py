"""The command line of a stage, from the keyword arguments of its main."""

from __future__ import annotations

import argparse
import inspect
import os
import typing
from pathlib import Path

from captionseg.records import UserError
from stages.kinds import In


def insert_recipe(argv: list[str], environ: typing.Mapping[str, str] = os.environ) -> list[str]:
    """Replace `@recipe` in the words of a command by the recipe's name.

    The name comes from --recipe, or from DVC's name of the stage (pretrain@NAME): a shell runs the
    commands of dvc.yaml, so they must not contain anything from params.yaml.

    Raises:
        UserError: if neither names a recipe.
    """
    if not any("@recipe" in word for word in argv):
        return argv
    recipe = argv[argv.index("--recipe") + 1] if "--recipe" in argv[:-1] else "@recipe"
    name = environ.get("DVC_STAGE", "").partition("@")[2] if recipe == "@recipe" else recipe
    if not name:
        raise UserError(
            "--recipe @recipe needs a stage name with a recipe in DVC_STAGE; outside of DVC use "
            "--recipe NAME"
        )
    return [word.replace("@recipe", name) for word in argv]


def parse(main: typing.Callable[..., object], name: str, argv: list[str]) -> tuple[dict, dict]:
    """Parse the command line by the keyword arguments of a stage's main; return values and
    kinds.
    """
    hints = typing.get_type_hints(main)
    kinds = {
        k: hints[k]
        for k, p in inspect.signature(main).parameters.items()
        if p.kind is p.KEYWORD_ONLY and k not in ("tracker", "earlier")
    }
    parser = argparse.ArgumentParser(
        prog=f"python -m stages.run {name}", description=inspect.getdoc(main)
    )
    for key, kind in kinds.items():
        parser.add_argument(
            "--" + key.replace("_", "-"), required=True, type=str if kind is str else Path
        )
    arguments = vars(parser.parse_args(argv))
    check_inputs(name, arguments, kinds)
    return arguments, kinds


def check_inputs(name: str, arguments: dict, kinds: dict) -> None:
    """Refuse missing inputs."""
    for key, kind in kinds.items():
        if kind is In and not arguments[key].exists():
            raise UserError(
                f"{name}: input {arguments[key]} does not exist; run `dvc repro` to create it"
            )
