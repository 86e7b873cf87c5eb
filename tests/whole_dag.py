"""The whole DAG, by DVC, on drawn shapes, in a clone of this repository, as for somebody who types
the README's commands on a machine that no connection leaves.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.offline.guard import Guard
from tests.soak.checkout import commit, copy_tracked

RECIPES = ("nouns-mil", "cocu-mil")


@dataclass(frozen=True)
class Run:
    """The clone, and what watched it while it ran.

    Attributes:
        root: of the clone.
        untouched: a copy of the clone as the run left it, whatever tests do to `root`.
        guard: its record of processes and connections.
    """

    root: Path
    untouched: Path
    guard: Guard

    def dvc(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.guard.python("-m", "dvc", *words, cwd=self.root)

    def shell(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command as typed into a shell whose .venv is active."""
        return self.guard.run(
            "bash", "-c", command, cwd=self.root, env={"PYTHONPATH": str(self.root)}
        )


def reproduce(home: Path) -> Run:
    """Run `dvc repro` in a clone of this checkout that is set to shapes."""
    guard = Guard(home)
    folder = home / "captionseg"
    copy_tracked(folder)
    guard.install(folder)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["download"] |= {"source": "shapes", "shard_size": 60}
    params["runtime"]["workers"] = 1
    params["index"] |= {"neighbours": 32, "dense_width": 64, "dense_sample": 40}
    params["index"]["alignment"] |= {"folds": 2, "epochs": 2}
    params["index"]["lite0_minilm"] = {"size": 96}
    params["curate"]["vocabulary"] = {"minimum": 3}
    params["curate"]["cocu"]["neighbours"] = params["curate"]["cocu_calibrated"]["neighbours"] = 32
    params["pretrain"] |= {"seeds": [0], "epochs": 2, "batch": 32}
    params["recipes"] = {name: params["recipes"][name] for name in RECIPES}
    params["about"] = {name: params["about"][name] for name in RECIPES}
    params["gate"] = {"something is learnt": "recipes.cocu-mil.shapes.miou >= 1"}
    params["validate"] = {"min_with_concepts": 0.5}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=folder, check=True)
    commit(folder)
    made = Run(folder, home / "untouched", guard)
    done = made.dvc("repro")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    shutil.copytree(folder, made.untouched, symlinks=True)
    return made
