"""Params of a file that is params.yaml, or an experiment's changes of it."""

from __future__ import annotations

from pathlib import Path

import yaml

from captionseg.experiments import read_experiment
from captionseg.params import Params
from captionseg.records import UserError


def read_params(path: Path, root: Path | None, *, files: bool) -> Params:
    """Read a params.yaml, or an experiment, which changes the params.yaml of this folder.

    Args:
        path: the file.
        root: the folder of the user's data that an experiment needs.
        files: whether files will be looked for; else an experiment may go without its folder.

    Raises:
        UserError: for anything invalid, with the file and the path of the key.
    """
    if not is_experiment(path):
        if root is not None:
            raise UserError(f"--root: {path} is no experiment, and needs no folder")
        return Params(path)
    experiment = read_experiment(path)
    if root is not None or files:
        experiment = experiment.place(path.stem, root)
    return Params(Path("params.yaml"), experiment.change)


def is_experiment(path: Path) -> bool:
    """Return whether a file is an experiment; what cannot be read is none."""
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return False
    return isinstance(values, dict) and "params" in values
