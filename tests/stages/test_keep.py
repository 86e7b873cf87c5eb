"""Keeping an experiment as a command: which recipes it takes, what it says, and its exit code."""

import json
import subprocess

import pytest
import yaml

from captionseg.storage.writing import write_json
from stages import keep

SCORE = {"p": {"miou": 30.0, "miou_low": 29.0, "miou_high": 31.0, "miou_std": 0.5}}
RECIPE = {"curation": "nouns", "archive": "nouns"}


def git(folder, *arguments):
    subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments], cwd=folder, check=True
    )


@pytest.fixture
def root(tmp_path):
    """A repository whose committed params have one recipe, in a workspace with another."""
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({"recipes": {"old-mil": RECIPE}}))
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "params.yaml")
    git(tmp_path, "commit", "-qm", "t")
    path.write_text(yaml.safe_dump({"recipes": {"old-mil": RECIPE, "new-mil": RECIPE}}))
    write_json(
        {"recipes": {"old-mil": SCORE, "new-mil": SCORE}}, tmp_path / "reports" / "metrics.json"
    )
    for name in ("old-mil", "new-mil"):
        write_json({"recipe": name}, tmp_path / "reports" / "recipes" / f"{name}.json")
    return tmp_path


def kept(root, name):
    return json.loads((root / "reports" / "experiments" / name / "experiment.json").read_text())


def test_by_default_what_is_not_committed_is_kept(root, capsys):
    assert keep.main(["more", "--about", "One more recipe."], root=root) == 0
    assert set(kept(root, "more")["recipes"]) == {"new-mil"}
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in out[:2]] == ["recipe", "new-mil"]
    assert out[-1].strip().startswith("git checkout HEAD -- params.yaml")


def test_recipes_that_are_named_come_first(root, capsys):
    assert keep.main(["more", "--about", "x", "--recipes", "old-mil"], root=root) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:3]] == [
        "old-mil",
        "new-mil",
    ]


def test_the_way_back_gives_the_committed_state_and_leaves_what_was_kept(root):
    """As `dvc exp run` leaves it: files that are committed have changed, others are new."""
    write_json({"recipes": {"old-mil": SCORE}}, root / "reports" / "metrics.json")
    (root / "dvc.lock").write_text("{}\n")
    git(root, "add", "dvc.lock", "reports/metrics.json")
    git(root, "commit", "-qm", "t")
    write_json({"recipes": {"old-mil": SCORE, "new-mil": SCORE}}, root / "reports" / "metrics.json")
    assert keep.main(["more", "--about", "x"], root=root) == 0
    back = keep.RESTORE.removesuffix(" && dvc checkout")
    subprocess.run(back, shell=True, cwd=root, check=True)
    assert not (root / "reports" / "recipes" / "new-mil.json").exists()
    assert (
        "new-mil"
        not in (root / "params.yaml").read_text() + (root / "reports" / "metrics.json").read_text()
    )
    assert set(kept(root, "more")["recipes"]) == {"new-mil"}


def test_a_mistake_is_one_line(root, capsys):
    assert keep.main(["more", "--about", "x", "--recipes", "nobody"], root=root) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "error: recipes.nobody: no such recipe in params.yaml (valid: new-mil, old-mil)\n"
    assert not (root / "reports" / "experiments").exists()


def test_without_a_commit_every_recipe_is_new(root, tmp_path_factory):
    alone = tmp_path_factory.mktemp("alone")
    (alone / "params.yaml").write_text((root / "params.yaml").read_text())
    assert keep.read_committed_recipes(alone) == {}
    assert set(keep.read_committed_recipes(root)) == {"old-mil"}
