"""The whole DAG, by DVC, on drawn shapes, in a clone of this repository: one run, looked at from
several sides; and a small repository in which one stage runs alone.

The DAG runs as for somebody who types the README's commands on a machine that no connection leaves.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from stages import run as module
from tests.offline.guard import Guard

ROOT = Path(__file__).parents[2]
RECIPES = ("nouns-mil", "cocu-mil")
PARAMS_YAML = "seed: 3\nindex: {neighbours: 8}\ncurate: {rules: [nouns]}\n"


@dataclass(frozen=True)
class Run:
    """The clone, and what watched it while it ran."""

    root: Path
    guard: Guard

    def dvc(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.guard.python("-m", "dvc", *words, cwd=self.root)

    def shell(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command as typed into a shell whose .venv is active."""
        return self.guard.run(
            "bash", "-c", command, cwd=self.root, env={"PYTHONPATH": str(self.root)}
        )


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The tracked files of this checkout as a repository of their own, set to shapes, and `dvc
    repro` run in it.
    """
    guard = Guard(tmp_path_factory.mktemp("home"))
    folder = guard.home / "captionseg"
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    for name in filter(None, names):
        written = name.startswith("reports/") and Path(name).name != "README.md"
        if not written and not name.startswith(("dvc.lock", "tests/")) and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
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
    subprocess.run(
        "git init -q -b main && git add -A && git -c user.name=t -c user.email=t@t commit -qm t",
        shell=True,
        cwd=folder,
        check=True,
    )
    made = Run(folder, guard)
    done = made.dvc("repro")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return made


@pytest.fixture(scope="session")
def clone(run: Run) -> Path:
    return run.root


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A repository of one params.yaml and one input."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CAPTIONSEG_TRACKING", "off")
    (tmp_path / "params.yaml").write_text(PARAMS_YAML)
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "0.txt").write_text("a dog")
    return tmp_path


@pytest.fixture
def stage(monkeypatch):
    """main -> it is what `stages.toy` does."""

    def stage(main, params: tuple[str, ...] = ("seed", "index")) -> None:
        monkeypatch.setitem(sys.modules, "stages.toy", SimpleNamespace(main=main, PARAMS=params))
        monkeypatch.setattr(module, "STAGES", (*module.STAGES, "toy"))

    return stage
