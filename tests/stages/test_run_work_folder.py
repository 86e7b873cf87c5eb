"""The work folder of a stage: what it is named by, and what goes on in it after a failed run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from captionseg.params import Params
from stages import run as module
from stages import work_folder
from stages.kinds import In, Out, Persistent, Renewed
from tests.stages.conftest import PARAMS_YAML


def test_what_a_killed_run_left_is_no_part_of_a_stage_that_starts_afresh(root, stage, monkeypatch):
    def write(params, *, out: Out):
        out.mkdir(exist_ok=True)
        (out / str(len(os.listdir(out)))).touch()
        if fails:
            raise KeyboardInterrupt

    stage(write)
    monkeypatch.setattr(module, "AFRESH", ("toy",))
    fails = True
    with pytest.raises(KeyboardInterrupt):
        module.run("toy", ["--out", "out"])
    fails = False
    module.run("toy", ["--out", "out"])
    assert os.listdir(root / "out") == ["0"]


def test_a_stage_that_fails_moves_nothing_and_keeps_its_work(root, stage):
    def fail(params, *, out: Out, summary: Out):
        out.mkdir()
        (out / "part").touch()
        summary.touch()
        raise RuntimeError("no space left")

    stage(fail)
    with pytest.raises(RuntimeError, match="no space left"):
        module.run("toy", ["--out", "data/out", "--summary", "s.txt"])
    assert not (root / "data").exists()
    assert not (root / "s.txt").exists()
    assert len(list((root / ".work" / "toy").glob("*/out/part"))) == 1


def test_a_stage_goes_on_with_what_a_failed_run_left(root, stage):
    made = []

    def three(params, *, out: Out):
        out.mkdir(exist_ok=True)
        for number in range(3):
            if not (out / str(number)).exists():
                if number == 2 and len(made) < 3:
                    made.append("stopped")
                    raise KeyboardInterrupt
                (out / str(number)).touch()
                made.append(number)

    stage(three)
    with pytest.raises(KeyboardInterrupt):
        module.run("toy", ["--out", "out"])
    module.run("toy", ["--out", "out"])
    assert made == [0, 1, "stopped", 2]
    assert sorted(os.listdir(root / "out")) == ["0", "1", "2"]


def test_what_is_kept_is_written_in_place_and_never_emptied(root, stage):
    def add(params, *, pairs: In, kept: Persistent, out: Out):
        kept.mkdir(exist_ok=True)
        number = len(os.listdir(kept))
        (kept / str(number)).touch()
        out.touch()
        if number == 1:
            raise KeyboardInterrupt

    stage(add)
    arguments = ["--pairs", "pairs", "--kept", "kept", "--out", "out"]
    module.run("toy", arguments)
    with pytest.raises(KeyboardInterrupt):
        module.run("toy", arguments)
    assert len(list((root / ".work" / "toy").iterdir())) == 1
    (root / "params.yaml").write_text(PARAMS_YAML.replace("8", "9"))
    module.run("toy", arguments)
    assert sorted(os.listdir(root / "kept")) == ["0", "1", "2"]


def test_what_is_kept_is_no_part_of_the_work_folders_name(root):
    kinds, values = {"kept": Persistent}, {"kept": Path("kept")}
    before = work_folder.hash_work(Params(root / "params.yaml"), ("seed",), values, kinds)
    (root / "kept").mkdir()
    (root / "kept" / "0").touch()
    assert work_folder.hash_work(Params(root / "params.yaml"), ("seed",), values, kinds) == before


def key(root: Path, **arguments) -> str:
    kinds = {"pairs": In, "word": str, "out": Out}
    values = {"pairs": Path("pairs"), "word": "x", "out": Path("out")} | arguments
    return work_folder.hash_work(Params(root / "params.yaml"), ("seed", "index"), values, kinds)


def test_the_work_folder_is_of_params_inputs_and_words(root):
    first = key(root)
    assert key(root) == first
    assert key(root, word="y") != first
    assert key(root, out=Path("other")) != first
    (root / "params.yaml").write_text(PARAMS_YAML.replace("rules: [nouns]", "rules: [cocu]"))
    assert key(root) == first  # another stage's section
    (root / "params.yaml").write_text(PARAMS_YAML.replace("8", "9"))
    assert key(root) != first
    (root / "params.yaml").write_text(PARAMS_YAML)
    (root / "pairs" / "1.txt").touch()
    second = key(root)
    assert second != first
    (root / "pairs" / "1.txt").write_text("a cat")
    assert key(root) not in (first, second)


def test_the_work_folder_is_of_the_params_that_a_stage_names_alone(root):
    """Dotted names, with arguments in them: another recipe, or where it runs, is another matter."""

    def key(text: str, recipe: str = "a") -> str:
        (root / "params.yaml").write_text("seed: 0\n" + text)
        return work_folder.hash_work(
            Params(root / "params.yaml"),
            ("recipes.{recipe}", "runtime.precision"),
            {"recipe": recipe},
            {"recipe": str},
        )

    recipes = "recipes: {a: {curation: x}, b: {curation: y}}\n"
    first = key(recipes + "runtime: {precision: fp32}")
    assert key(recipes + "runtime: {precision: fp32, devices: 2, checkpoint_steps: 5}") == first
    assert key(recipes.replace("y", "z") + "runtime: {precision: fp32}") == first
    assert key(recipes.replace("x", "z") + "runtime: {precision: fp32}") != first
    assert key(recipes + "runtime: {precision: bf16}") != first
    assert work_folder.select_params(
        Params(root / "params.yaml"), ("seed", "recipes.{recipe}"), {"recipe": "b"}
    ) == {"seed": 0, "recipes.b": {"curation": "y"}}


def test_a_checkout_that_is_moved_goes_on(root, tmp_path, monkeypatch):
    library = tmp_path / "checkout" / "stages"
    library.mkdir(parents=True)
    (library.parent / "captionseg").mkdir()
    (library / "x.py").touch()
    monkeypatch.setattr(work_folder, "__file__", str(library / "run.py"))
    first = key(root)
    library.parent.rename(tmp_path / "moved")
    monkeypatch.setattr(work_folder, "__file__", str(tmp_path / "moved" / "stages" / "run.py"))
    assert key(root) == first


def test_the_work_folder_is_of_the_code_too(root, monkeypatch):
    first = key(root)
    library = root / "repository" / "stages"
    library.mkdir(parents=True)
    (library.parent / "captionseg").mkdir()
    monkeypatch.setattr(work_folder, "__file__", str(library / "run.py"))
    (library.parent / "captionseg" / "x.py").touch()
    second = key(root)
    (library.parent / "captionseg" / "x.py").write_text("changed")
    assert len({first, second, key(root)}) == 3


def test_what_is_renewed_stays_until_the_new_version_is_there(root, stage):
    """And the stage is told where it lies."""
    seen = []

    def renew(params, *, pairs: In, out: Renewed, earlier):
        assert earlier == {"out": Path("out")}
        seen.append(sorted(os.listdir("out")) if earlier["out"].exists() else None)
        out.mkdir()
        (out / str(len(seen))).touch()
        if len(seen) == 2:
            raise KeyboardInterrupt

    stage(renew)
    arguments = ["--pairs", "pairs", "--out", "out"]
    module.run("toy", arguments)
    (root / "params.yaml").write_text(PARAMS_YAML.replace("8", "9"))
    with pytest.raises(KeyboardInterrupt):
        module.run("toy", arguments)
    assert os.listdir(root / "out") == ["1"]
    (root / "params.yaml").write_text(PARAMS_YAML.replace("8", "7"))
    module.run("toy", arguments)
    assert seen == [None, ["1"], ["1"]]
    assert os.listdir(root / "out") == ["3"]
