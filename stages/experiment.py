"""experiment: run experiments/NAME.yaml with DVC and keep its scores in reports/experiments/NAME.

python -m stages.experiment [NAME] [--root FOLDER]

An experiment on data that cannot come with the project takes the folder where you keep them.
Without a name, lists the experiments: the purpose, cost and expected scores of each.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from captionseg.experiments import Experiment, describe, read_experiment
from captionseg.records import UserError
from stages.keep import keep

FOLDER = "experiments"
NAME = re.compile(r"([\w-]+/)?[\w-]+")
"""Name of a file in that folder, or in a folder of it, such as paper/cocu."""


def main(
    argv: list[str] | None = None,
    *,
    root: Path = Path(),
    run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run,
) -> int:
    """Run the command; 0, the exit code of DVC, or 1 after one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.experiment", description="Run an experiment and keep its scores."
    )
    parser.add_argument(
        "name", nargs="?", help="experiment in experiments/ to run; without it, list all"
    )
    parser.add_argument(
        "--root", type=Path, metavar="FOLDER", help="folder of the data, if the experiment needs it"
    )
    arguments = parser.parse_args(argv)
    name = arguments.name
    folder = root / FOLDER
    try:
        if not name:
            for path in sorted(folder.glob("*.yaml")) + sorted(folder.glob("*/*.yaml")):
                found = path.relative_to(folder).with_suffix("").as_posix()
                print(*describe(found, read_experiment(path)), sep="\n")
            return 0
        if not NAME.fullmatch(name):
            raise UserError(f"{name!r} is not the name of a file in {FOLDER}/")
        experiment = read_experiment(folder / f"{name}.yaml").place(name, arguments.root)
        print(*describe(name, experiment), sep="\n", flush=True)
        environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
        done = run(list_command(experiment), cwd=root, env=environment, check=False)
        if done.returncode:
            return done.returncode
        print(*keep(root, name.replace("/", "-"), experiment.about, experiment.recipes), sep="\n")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def list_command(experiment: Experiment) -> list[str]:
    """Return the command `dvc exp run` with the experiment's params, as a list of words."""
    command = [sys.executable, "-m", "dvc", "exp", "run"]
    for override in experiment.overrides:
        command += ["--set-param", override]
    return command


if __name__ == "__main__":
    sys.exit(main())
