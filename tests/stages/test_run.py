"""How every stage is run: its arguments, and outputs that appear only when it ended well."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

from captionseg.params import Params
from captionseg.records import UserError
from captionseg.runtime.outputs import move
from captionseg.tracking.tracker import NullTracker
from stages import run as module
from stages.kinds import In, Out
from tests.stages.conftest import PARAMS_YAML

ROOT = Path(__file__).parents[2]


def copy(params: Params, *, pairs: In, word: str, out: Out, summary: Out) -> dict[str, float]:
    """Copies the pairs."""
    shutil.copytree(pairs, out)
    summary.write_text(f"{word} {params.seed} {params.index.neighbours}")
    return {"files": 1.0}


ARGUMENTS = [
    "--pairs",
    "pairs",
    "--word",
    "hello",
    "--out",
    "data/out",
    "--summary",
    "reports/summary.txt",
]


def test_inputs_words_and_outputs(root, stage):
    stage(copy)
    assert module.run("toy", ARGUMENTS) == {"files": 1.0}
    assert (root / "data" / "out" / "0.txt").read_text() == "a dog"
    assert (root / "reports" / "summary.txt").read_text() == "hello 3 8"
    assert not list((root / ".work" / "toy").iterdir())


def test_the_tracker_hears_what_is_read_and_whose_recipe_it_is(root, stage, monkeypatch):
    class Listener(NullTracker):
        def inputs(self, paths):
            told["inputs"] = paths

        def tags(self, values):
            told["tags"] = values

    @contextlib.contextmanager
    def start(name, recipe, **_):
        told["start"] = (name, recipe)
        yield Listener()

    told: dict = {}
    monkeypatch.setattr(module, "start_tracker", start)
    (root / "params.yaml").write_text(
        PARAMS_YAML + "pretrain: {seeds: [0, 1]}\nevaluate: {name: shapes}\n"
        "recipes: {a: {curation: cocu, archive: nouns}}\n"
    )

    def nothing(params, *, recipe: str, pairs: In): ...

    stage(nothing)
    for recipe in ("a", "b"):
        module.run("toy", ["--recipe", recipe, "--pairs", "pairs"])
        assert told["start"] == ("toy", recipe)
        assert told["inputs"] == {"pairs": Path("pairs")}
        tags = {
            "recipe": "a",
            "curation": "cocu",
            "archive": "nouns",
            "model": "segment_mil",
            "preset": "none",
            "benchmark": "shapes",
            "seeds": "2",
        }
        assert told["tags"] == (tags if recipe == "a" else {}), (
            "a recipe that is not there is the stage's to refuse"
        )


def test_files_are_told_of_when_all_of_them_are_in_place(root, stage, monkeypatch):
    """So nobody registers a model of a run that then finds no room for it."""

    class Listener(NullTracker):
        def model(self, folder, name):
            told.append((name, folder, folder.exists(), (root / "t.json").exists()))

    @contextlib.contextmanager
    def start(*_, **__):
        yield Listener()

    def train(params, *, model: Out, timing: Out, tracker):
        model.mkdir(parents=True)
        tracker.model(model, "cocu")
        timing.touch()

    told: list = []
    monkeypatch.setattr(module, "start_tracker", start)
    stage(train)
    module.run("toy", ["--model", "models/cocu", "--timing", "t.json"])
    assert told == [("cocu", Path("models/cocu"), True, True)]
    monkeypatch.setattr(module, "move_all", lambda moves: (_ for _ in ()).throw(OSError("no room")))
    with pytest.raises(OSError, match="no room"):
        module.run("toy", ["--model", "models/cocu", "--timing", "t.json"])
    assert len(told) == 1


def test_killed_between_two_outputs_it_is_all_made_again(root, stage, monkeypatch):
    """What is in place by then is of two runs; DVC, which hears of no good end, empties it and runs
    the stage again.
    """
    stage(copy)
    module.run("toy", ARGUMENTS)
    (root / "pairs" / "1.txt").write_text("a cat")
    child = os.fork()
    if not child:
        rename = os.rename
        monkeypatch.setattr(
            os,
            "rename",
            lambda a, b: os._exit(9) if Path(b).name == "summary.txt" else rename(a, b),
        )
        module.run("toy", [*ARGUMENTS[:2], "--word", "bye", *ARGUMENTS[4:]])
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert sorted(os.listdir(root / "data" / "out")) == ["0.txt", "1.txt"]
    assert not (root / "reports" / "summary.txt").exists()
    shutil.rmtree(root / "data" / "out")  # as DVC does
    module.run("toy", [*ARGUMENTS[:2], "--word", "bye", *ARGUMENTS[4:]])
    assert sorted(os.listdir(root / "data" / "out")) == ["0.txt", "1.txt"]
    assert (root / "reports" / "summary.txt").read_text() == "bye 3 8"
    assert sorted(os.listdir(root / "reports")) == ["summary.txt"]


def test_two_outputs_of_one_name_are_refused(root, stage):
    """In the work folder one would overwrite the other."""
    stage(copy)
    with pytest.raises(UserError, match="toy: outputs must have different names, found x, x"):
        module.run("toy", [*ARGUMENTS[:4], "--out", "a/x", "--summary", "b/x"])


def test_outputs_replace_what_is_there(root, stage):
    (root / "data" / "out").mkdir(parents=True)
    (root / "data" / "out" / "old.txt").touch()
    (root / "reports").mkdir()
    (root / "elsewhere").mkdir()
    (root / "elsewhere" / "kept.txt").touch()
    # DVC may link outputs to its cache
    (root / "reports" / "summary.txt").symlink_to(root / "elsewhere")
    stage(copy)
    module.run("toy", ARGUMENTS)
    assert os.listdir(root / "data" / "out") == ["0.txt"]
    assert (root / "reports" / "summary.txt").read_text() == "hello 3 8"
    assert os.listdir(root / "elsewhere") == ["kept.txt"]
    shutil.rmtree(root / "data" / "out")
    (root / "data" / "out").write_text("a file where a folder goes")
    module.run("toy", ARGUMENTS)
    assert os.listdir(root / "data" / "out") == ["0.txt"]


def test_outputs_reach_another_disk(root, tmp_path):
    other = Path("/dev/shm")
    if not os.access(other, os.W_OK) or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    target = Path(tempfile.mkdtemp(dir=other)) / "out"
    try:
        for text in ("first", "second"):
            (tmp_path / "work").mkdir()
            (tmp_path / "work" / "0.txt").write_text(text)
            move(tmp_path / "work", target)
            assert os.listdir(target.parent) == ["out"]
            assert (target / "0.txt").read_text() == text
            assert not (tmp_path / "work").exists()
    finally:
        shutil.rmtree(target.parent)


def test_random_numbers_are_seeded(root, stage):
    import random

    drawn = []
    stage(lambda params: drawn.append((random.random(), float(np.random.rand()))))
    for _ in range(2):
        module.run("toy", [])
    assert drawn[0] == drawn[1]


def test_a_stage_that_leaves_nothing_is_found_out(root, stage):
    def nothing(params, *, out: Out): ...

    stage(nothing)
    with pytest.raises(RuntimeError, match="without writing out"):
        module.run("toy", ["--out", "out"])


def test_an_input_that_is_missing_is_one_line(root, stage):
    stage(copy)
    with pytest.raises(
        UserError, match="toy: input nowhere does not exist; run `dvc repro` to create it"
    ):
        module.run("toy", ["--pairs", "nowhere", *ARGUMENTS[2:]])


# ------------------------------------------------------------------------------- as a command


def test_a_stage_that_nobody_knows(capsys):
    assert module.main(["trian"]) == 2
    assert module.main([]) == 2
    assert "usage: python -m stages.run {download,caption,regions," in capsys.readouterr().err


def test_a_misspelt_parameter_is_one_line(root, stage, capsys):
    stage(copy)
    (root / "params.yaml").write_text(PARAMS_YAML.replace("neighbours", "neighbors"))
    assert module.main(["toy", *ARGUMENTS]) == 1
    error = capsys.readouterr().err
    assert error.startswith(
        "error: index.neighbors: unknown parameter; did you mean 'neighbours'? (valid: encoder, "
    )
    assert error.count("\n") == 1


def test_params_are_checked_whole_before_the_first_stage_of_dvc_and_once(root, monkeypatch):
    checked = []
    monkeypatch.setattr("captionseg.checks.check.check", lambda params, **how: checked.append(how))
    module.check_once("index")  # by hand, in a folder that has not all sections
    assert not checked
    monkeypatch.setenv("DVC_STAGE", "index")
    for stage in ("index", "index", "curate"):
        module.check_once(stage)
    assert checked == [{"done": ("download", "caption", "regions")}]
    (root / "params.yaml").write_text(PARAMS_YAML.replace("8", "9"))
    module.check_once("index")
    assert len(checked) == 2


def test_params_of_other_stages_are_refused_too_and_again(root, stage, capsys):
    stage(copy)
    (root / "params.yaml").write_text(PARAMS_YAML + "report: {scenes: -1}\n")
    for _ in range(2):
        assert module.main(["toy", *ARGUMENTS]) == 1
        assert (
            "error: report.scenes: -1 is out of range (valid: 0 to 1000000000"
            in capsys.readouterr().err
        )
    assert not (root / "data").exists()
