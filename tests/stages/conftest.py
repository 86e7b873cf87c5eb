"""The whole DAG on drawn shapes, and a small repository in which one stage runs alone."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages import run as module
from tests.whole_dag import Run

PARAMS_YAML = "seed: 3\nindex: {neighbours: 8}\ncurate: {rules: [nouns]}\n"


@pytest.fixture(scope="session")
def run(dag: Run) -> Run:
    return dag


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
