"""`captionseg check-params` of an experiment: what DVC would make of params.yaml, or one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from dvc.utils.cli_parse import to_path_overrides
from dvc.utils.hydra import apply_overrides

from captionseg import cli
from captionseg.experiments import read_experiment
from captionseg.params import Params

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / "experiments").glob("**/*.yaml"))
MINE = """about: Longer.
minutes: not measured
params: {pretrain: {epochs: 3}}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(capsys, *words: str) -> tuple[int, list[str], list[str]]:
    code = cli.main(["check-params", *words])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err.splitlines()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_experiment_changes_params_as_dvc_does(file, tmp_path):
    experiment = read_experiment(file)
    path = Path(shutil.copy(ROOT / "params.yaml", tmp_path))
    changed = Params(path, experiment.change).raw
    apply_overrides(str(path), to_path_overrides(experiment.overrides)["params.yaml"])
    assert changed == Params(path).raw


@pytest.mark.parametrize("name", ["groupvit", "cocu", "ovsegmentor", "tcl", "code", "use"])
def test_published_runs_are_valid(folder, capsys, name):
    file = str(ROOT / "experiments" / "paper" / f"{name}.yaml")
    code, out, err = check(capsys, file, "--no-files", "--quiet")
    assert (code, err) == (0, [])
    assert out[0].startswith(f"{file}: valid ({2 if name == 'cocu' else 1} recipe")


def test_a_mistake_is_one_line(folder, capsys):
    file = folder / "mine.yaml"
    file.write_text(MINE)
    assert check(capsys, str(file))[1] == [f"{file}: valid (5 recipes, 2 gate rules)"]
    file.write_text(MINE.replace("epochs: 3", "epochs: -3"))
    code, out, err = check(capsys, str(file))
    assert (code, out, len(err)) == (1, [], 1)
    assert "pretrain.epochs" in err[0]
    file.write_text(MINE + "without: [none-mil]\n")
    assert check(capsys, str(file))[2] == ["error: without: params.yaml has no recipe none-mil"]
    file.write_text(MINE.replace("minutes", "hours"))
    assert "minutes: field required" in check(capsys, str(file))[2][0]


def test_the_folder_of_the_data_is_asked_for_and_looked_into(folder, capsys):
    file = folder / "mine.yaml"
    shards = "{download: {source: shards, shards: {path: '{root}/shards'}}}"
    file.write_text(MINE.replace("{pretrain: {epochs: 3}}", shards) + "root: folder with shards/\n")
    assert "experiment mine needs --root: folder with shards/" in check(capsys, str(file))[2][0]
    code, _, err = check(capsys, str(file), "--root", str(folder))
    assert code == 1
    assert f"{folder}/shards" in err[0]
    (folder / "shards").mkdir()
    assert check(capsys, str(file), "--root", str(folder), "--quiet")[0] == 0
    code, _, err = check(capsys, "params.yaml", "--root", str(folder))
    assert (code, err) == (1, ["error: --root: params.yaml is no experiment, and needs no folder"])
