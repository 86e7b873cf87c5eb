"""Running a file of experiments/: what DVC is told, what is kept, and what is said."""

import json
import subprocess

import pytest
import yaml

from captionseg.storage.writing import write_json
from stages import experiment

SCORE = {"p": {"miou": 30.0, "miou_low": 29.0, "miou_high": 31.0, "miou_std": 0.5}}
RECIPE = {"curation": "nouns", "archive": "nouns"}
FILE = {
    "about": "One; more $(touch x).",
    "minutes": 7.5,
    "expected": {"new-mil": 30.04},
    "recipes": ["old-mil"],
    "params": {"recipes": {"new-mil": RECIPE}, "about": {"new-mil": "it's; rm -rf"}},
}


@pytest.fixture
def root(tmp_path):
    """A workspace with a committed recipe and a file of an experiment."""
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"recipes": {"old-mil": RECIPE}}))
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "more.yaml").write_text(yaml.safe_dump(FILE))
    for words in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "t"],
    ):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return tmp_path


@pytest.fixture
def dvc(root):
    """Stands in for `dvc exp run`: it notes what it is told and leaves what a run leaves."""
    calls = []

    def run(words, **options):
        calls.append((words, options))
        recipes = {"old-mil": RECIPE, "new-mil": RECIPE}
        (root / "params.yaml").write_text(yaml.safe_dump({"recipes": recipes}))
        write_json({"recipes": dict.fromkeys(recipes, SCORE)}, root / "reports" / "metrics.json")
        for name in recipes:
            write_json({"recipe": name}, root / "reports" / "recipes" / f"{name}.json")
        return subprocess.CompletedProcess(words, 0)

    run.calls = calls
    return run


def test_dvc_gets_words_and_no_shell(root, dvc):
    assert experiment.main(["more"], root=root, run=dvc) == 0
    ((words, options),) = dvc.calls
    assert words[1:5] == ["-m", "dvc", "exp", "run"]
    assert words[5::2] == ["--set-param"] * 3
    assert set(words[6::2]) == {
        "++recipes.new-mil.curation='nouns'",
        "++recipes.new-mil.archive='nouns'",
        "++about.new-mil='it\\'s; rm -rf'",
    }
    assert not options.get("shell")
    assert options["env"]["DVC_NO_ANALYTICS"] == "1"


def test_its_scores_are_kept_and_shown(root, dvc, capsys):
    assert experiment.main(["more"], root=root, run=dvc) == 0
    kept = json.loads((root / "reports" / "experiments" / "more" / "experiment.json").read_text())
    assert (kept["about"], set(kept["recipes"])) == (FILE["about"], {"old-mil", "new-mil"})
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "more: One; more $(touch x).",
        "  minutes on two cores: 7.5",
        "  expected mIoU: new-mil 30.0",
    ]
    assert [line.split()[0] for line in lines[3:6]] == ["recipe", "old-mil", "new-mil"]
    assert lines[-1].strip().startswith("git checkout HEAD -- params.yaml")


def test_a_run_that_fails_keeps_nothing(root):
    def run(words, **_):
        return subprocess.CompletedProcess(words, 255)

    assert experiment.main(["more"], root=root, run=run) == 255
    assert not (root / "reports").exists()


def test_without_a_name_they_are_listed(root, dvc, capsys):
    assert experiment.main([], root=root, run=dvc) == 0
    assert capsys.readouterr().out.startswith("more: One; more")
    assert dvc.calls == []


def test_experiments_in_a_folder_have_its_name_and_what_they_take(root, dvc, capsys):
    (root / "experiments" / "paper").mkdir()
    one = {"trained": 55.7, "frozen": 0.0, "gflop": 39.2, "gib": 22.7, "hours": 1093.7}
    file = {**FILE, "cost": {"pairs": 9, "recipes": {"new-mil": one}}}
    (root / "experiments" / "paper" / "big.yaml").write_text(yaml.safe_dump(file))
    assert experiment.main([], root=root, run=dvc) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line[0] != " "] == [
        "more: One; more $(touch x).",
        "paper/big: One; more $(touch x).",
    ]
    assert "  new-mil, computed: 1,094 hours of GPUs with 23 GiB each" in lines
    assert experiment.main(["paper/big"], root=root, run=dvc) == 0
    assert (root / "reports" / "experiments" / "paper-big" / "experiment.json").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("less", "no such experiment (valid: more)"),
        ("paper/../more", "'paper/../more' is not the name of a file in experiments/"),
        ("../params", "'../params' is not the name of a file in experiments/"),
    ],
)
def test_a_mistake_is_one_line(root, dvc, capsys, name, message):
    assert experiment.main([name], root=root, run=dvc) == 1
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines()), dvc.calls) == ("", 1, [])
    assert message in err


def test_a_folder_of_the_user_takes_the_place_of_root(root, dvc, capsys):
    """Also in lists, and whatever its name has; without it nothing runs."""
    place = root / "it's [1], {a}=b"
    place.mkdir()
    file = {
        **FILE,
        "root": "folder of pictures",
        "params": {"recipes": {"new-mil": RECIPE}, "deep": [{"path": "{root}/captions.txt"}, 1]},
    }
    (root / "experiments" / "own.yaml").write_text(yaml.safe_dump(file))
    assert experiment.main(["own"], root=root, run=dvc) == 1
    assert "needs --root: folder of pictures; make experiment NAME=own" in capsys.readouterr().err
    assert experiment.main(["own", "--root", str(root / "none")], root=root, run=dvc) == 1
    assert "none is not a folder; give folder of pictures" in capsys.readouterr().err
    assert experiment.main(["more", "--root", str(place)], root=root, run=dvc) == 1
    assert "--root: experiment more needs no folder" in capsys.readouterr().err
    assert dvc.calls == []
    assert experiment.main(["own", "--root", str(place)], root=root, run=dvc) == 0
    words = dvc.calls[0][0]
    assert (
        f"++deep=[{{path:'{str(place).replace(chr(39), chr(92) + chr(39))}/captions.txt'}},1]"
        in words
    )
    assert "  needs --root: folder of pictures" in capsys.readouterr().out
