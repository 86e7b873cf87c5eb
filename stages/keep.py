"""keep: copy the scores of the experiment in this workspace to reports/experiments/NAME, where no
later run touches them.

python -m stages.keep NAME --about "..." [--recipes RECIPE ...]

By default the recipes that params.yaml has and the committed params.yaml has not; --recipes names
others to stand beside them, such as a baseline. `python -m stages.experiment` ends with it.
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

RESTORE = (
    "git checkout HEAD -- params.yaml dvc.lock reports && git clean -fdq -e experiments -e "
    "benchmarks reports && dvc checkout"
)


def main(argv: list[str] | None = None, *, root: Path = Path()) -> int:
    """Entry point: 0, or 1 after one line on stderr for a mistake of the user's."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.keep", description="Keep the experiment of this workspace."
    )
    parser.add_argument("name", help="of the experiment")
    parser.add_argument("--about", required=True, help="what the experiment is to show")
    parser.add_argument(
        "--recipes", nargs="+", default=[], help="further recipes, shown first, in this order"
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
        name: of the experiment.
        about: what it is to show.
        recipes: further recipes, shown first, in this order.

    Returns:
        its scores and the way back to the committed run, as lines for a terminal.

    Raises:
        UserError: the reports are not those of params.yaml, or there is no such recipe.
    """
    params = Params(root / "params.yaml").raw
    chosen = select_recipes(params.get("recipes", {}), read_committed_recipes(root), recipes)
    lock = read_yaml(root / "dvc.lock", str(root / "dvc.lock"))
    folder = root / "reports" / "experiments"
    space = Workspace(params, lock, root / "reports")
    metrics = archive_experiment(space, name, about, chosen, folder=folder)
    return [
        *format_scores(metrics),
        f"kept: {Path('reports') / 'experiments' / name}    the workspace holds the experiment; "
        "back to the committed run with:",
        f"  {RESTORE}",
    ]


def read_committed_recipes(root: Path) -> dict[str, Any]:
    """The recipes of the params.yaml that is committed; none where there is no commit."""
    done = subprocess.run(
        ["git", "show", "HEAD:./params.yaml"], cwd=root, capture_output=True, text=True, check=False
    )
    return (yaml.safe_load(done.stdout) or {}).get("recipes", {}) if done.returncode == 0 else {}


if __name__ == "__main__":
    sys.exit(main())
