"""keep: copy the scores of the experiment in this workspace to reports/experiments/NAME, where
later runs do not overwrite them.

python -m stages.keep NAME --about "..." [--recipes RECIPE ...]

Keeps the recipes that params.yaml adds to the committed params.yaml; --recipes names more, such as
a baseline to compare with. `python -m stages.experiment` calls this at its end.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from captionseg.gate.repository import read_yaml
from captionseg.params import Params
from captionseg.records import UserError
from captionseg.reporting.experiment_archive import (
    Workspace,
    archive_experiment,
    format_scores,
    select_recipes,
)
from captionseg.storage.yaml_numbers import NumberLoader

RESTORE = (
    "git checkout HEAD -- params.yaml dvc.lock reports && git clean -fdq -e experiments -e "
    "benchmarks reports && dvc checkout"
)


def main(argv: list[str] | None = None, *, root: Path = Path()) -> int:
    """Run the command; 0, or 1 after one line on stderr for a user error."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.keep", description="Keep the experiment in this workspace."
    )
    parser.add_argument("name", help="name of the experiment")
    parser.add_argument("--about", required=True, help="what the experiment shows")
    parser.add_argument(
        "--recipes", nargs="+", default=[], help="more recipes to keep; shown first, in this order"
    )
    arguments = parser.parse_args(argv)
    try:
        print(*keep(root, arguments.name, arguments.about, arguments.recipes), sep="\n")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def keep(root: Path, name: str, about: str, recipes: Sequence[str]) -> list[str]:
    """Keep the experiment of a workspace.

    Args:
        root: the workspace.
        name: name of the experiment.
        about: what it shows.
        recipes: more recipes to keep, shown first, in this order.

    Returns:
        lines for a terminal: its scores, and how to restore the committed run.

    Raises:
        UserError: the reports do not match params.yaml, or a recipe does not exist.
    """
    params = Params(root / "params.yaml").raw
    chosen = select_recipes(params.get("recipes", {}), read_committed_recipes(root), recipes)
    lock = read_yaml(root / "dvc.lock", str(root / "dvc.lock"))
    folder = root / "reports" / "experiments"
    space = Workspace(params, lock, root / "reports")
    metrics = archive_experiment(space, name, about, chosen, folder=folder)
    return [
        *format_scores(metrics),
        f"kept in {Path('reports') / 'experiments' / name}. The workspace still has the "
        "experiment; to restore the committed run:",
        f"  {RESTORE}",
    ]


def read_committed_recipes(root: Path) -> dict[str, Any]:
    """Return the recipes of the committed params.yaml; none without a commit."""
    done = subprocess.run(
        ["git", "show", "HEAD:./params.yaml"], cwd=root, capture_output=True, text=True, check=False
    )
    return (
        (yaml.load(done.stdout, NumberLoader) or {}).get("recipes", {})
        if done.returncode == 0
        else {}
    )


if __name__ == "__main__":
    sys.exit(main())
