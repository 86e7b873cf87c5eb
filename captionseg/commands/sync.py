"""`captionseg sync`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(commands: argparse._SubParsersAction) -> None:
    """The arguments of `sync`."""
    one = commands.add_parser("sync", help="show in MLflow what is here", description=run.__doc__)
    one.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Make MLflow show what the files of this checkout hold: a run for each recipe, the numbers,
    the champion. Nothing is added where it shows them already. `make repro` and the flow end with
    it; a plain `dvc repro` needs it only where no stage ran, since all came from DVC's cache."""
    from captionseg.tracking.environment import is_off

    if is_off():
        print("sync: CAPTIONSEG_TRACKING is off, so nothing is recorded")
        return
    from captionseg.tracking.synchronise import synchronise

    print(f"sync: {synchronise(Path())}")
