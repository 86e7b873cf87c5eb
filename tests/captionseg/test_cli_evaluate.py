"""The command `evaluate`: a model or all seeds of a recipe on a benchmark."""

import json
from pathlib import Path

import numpy as np

from captionseg import cli
from tests.captionseg.test_cli import said


def found(seeds: dict[str, float]):
    """What an evaluation comes to."""
    from captionseg.benchmarks.score_saved_models import Evaluation

    return Evaluation(
        {
            "scores": {
                "miou": 25.0,
                "miou_low": 24.0,
                "miou_high": 26.0,
                "miou_std": 0.5,
                "pixel_accuracy": 50.0,
            },
            "per_class": {"dog": 25.0},
            "seeds": seeds,
            "protocol": {
                "prompts": "simple",
                "refine": "none",
                "windows": None,
                "masks": None,
                "background": {"policy": "word", "score": None},
            },
        },
        2.0,
    )


def test_evaluate(tmp_path, capsys, monkeypatch):
    """Small VOC, as unpacked; half of the pixels are right. Other words for the rest are checked in
    benchmarks/.
    """
    from captionseg.benchmarks import score_saved_models
    from tests.captionseg.benchmarks.trees import write_tree

    asked = []

    def fake(folders, encoder, benchmark, how):
        asked.append((folders, encoder, len(benchmark), how))
        return found({"": 25.0})

    monkeypatch.setattr(score_saved_models, "evaluate", fake)
    root, out = write_tree(tmp_path, "voc", [np.zeros((4, 5), int)] * 3), tmp_path / "scores.json"
    command = [
        "evaluate",
        "--benchmark",
        "voc",
        "--root",
        str(root),
        "--model",
        "m/x",
        "--device",
        "cpu",
    ]
    assert (
        cli.main(
            [
                *command,
                "--limit",
                "2",
                "--out",
                str(out),
                "--background",
                "published",
                "--bootstrap",
                "7",
            ]
        )
        == 0
    )
    lines, err = said(capsys)
    assert lines[:2] == [
        "Pascal VOC 2012, 21 classes, by x",
        "mIoU             25.00  (95 % 24.00 to 26.00)",
    ]
    assert lines[-1] == str(out)
    assert err == []
    folders, encoder, number, how = asked[-1]
    assert (folders, encoder, number) == ({"": Path("m/x")}, Path("m/x/encoder"), 2)
    assert (how.device, how.background, how.bootstrap, how.protocol.windows.short_side) == (
        "cpu",
        0.95,
        7,
        448,
    )
    result = json.loads(out.read_text())
    assert (result["model"], result["seeds"], result["pictures"]) == (
        "x",
        {},
        {"scored": 2, "of": 3},
    )
    for extra, words in (
        (["--limit", "-1"], "--limit must not be negative"),
        ([], "expected 1449 pictures"),
        (["--out", str(tmp_path)], "cannot be written; give a file"),
        (["--windows", "3"], "is not SHORT,CROP,STRIDE"),
    ):
        assert cli.main([*command, *extra]) == 1
        lines, err = said(capsys)
        assert (lines, len(err)) == ([], 1)
        assert words in err[0]


def test_evaluate_without_a_model_takes_the_best_as_segment_does(tmp_path, capsys, monkeypatch):
    from captionseg import shipped
    from captionseg.benchmarks import score_saved_models
    from tests.captionseg.benchmarks.trees import write_tree

    asked = []

    def fake(folders, encoder, benchmark, how):
        asked.append(folders[""])
        return found({"": 25.0})

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(score_saved_models, "evaluate", fake)
    monkeypatch.setattr(shipped, "path", lambda: Path("came-with-it"))
    root = write_tree(tmp_path, "voc", [np.zeros((4, 5), int)])
    command = ["evaluate", "--benchmark", "voc", "--root", str(root), "--limit", "1"]
    assert cli.main(command) == 0
    assert said(capsys)[1] == ["model: came-with-it"]
    for name, miou in (("a", 20.0), ("b", 30.0)):
        (tmp_path / "models" / name / "seeds/0").mkdir(parents=True)
        (tmp_path / "models" / name / "model.safetensors").touch()
        (tmp_path / "models" / name / "seeds/0/fit.json").write_text(f'{{"tune_miou": {miou}}}')
    assert cli.main(command) == 0
    assert asked == [Path("came-with-it"), Path("models/b")]
    assert said(capsys)[1] == [f"model: {Path('models/b')}"]


def test_evaluate_all_seeds_of_a_recipe(tmp_path, capsys, monkeypatch):
    """On the data of the checkout, by the name that its params.yaml has for them."""
    from captionseg.benchmarks import score_saved_models
    from captionseg.benchmarks.published import catalogue

    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("evaluate: {name: mine}")
    for seed in ("1", "0"):
        (tmp_path / "models" / "cocu-mil" / "seeds" / seed).mkdir(parents=True)
    monkeypatch.setattr(catalogue, "open_benchmark", lambda spec, root, limit, **_: (Four(), 4))
    monkeypatch.setattr(
        score_saved_models, "evaluate", lambda folders, *_: found({seed: 25.0 for seed in folders})
    )
    command = ["evaluate", "--benchmark", "mine", "--recipe", "cocu-mil", "--device", "cpu"]
    assert cli.main([*command, "--protocol", "tcl"]) == 0
    lines, err = said(capsys)
    assert (lines[0], err) == ("the run's own data, 2 classes, by cocu-mil, 2 seeds", [])
    assert lines[-1] == "reports/benchmarks/cocu-mil/mine@tcl.json"
    path = tmp_path / lines[-1]
    result, before = json.loads(path.read_text()), path.read_bytes()
    assert {key: result[key] for key in ("recipe", "benchmark", "title", "seeds", "pictures")} == {
        "recipe": "cocu-mil",
        "benchmark": "mine",
        "title": "the run's own data",
        "seeds": {"0": 25.0, "1": 25.0},
        "pictures": {"scored": 4, "of": 4},
    }
    assert cli.main([*command, "--protocol", "tcl"]) == 0
    assert path.read_bytes() == before
    said(capsys)
    for extra, words in (
        (["--recipe", "none"], "models/none: no trained seed"),
        (["--benchmark", "other"], "'other' is not valid"),
    ):
        assert cli.main([*command, *extra]) == 1
        assert words in said(capsys)[1][0]


def test_evaluate_in_the_checkout_of_another_project(tmp_path, capsys, monkeypatch):
    """Its params.yaml is not ours: published benchmarks and folders need none."""
    from captionseg.benchmarks import score_saved_models
    from tests.captionseg.benchmarks.trees import write_tree

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(score_saved_models, "evaluate", lambda *rest: found({"": 25.0}))
    write_tree(tmp_path, "folder", [np.zeros((4, 5), int)])
    command = ["evaluate", "--model", "m/x", "--device", "cpu", "--benchmark"]
    for text in ("train: {epochs: 3}\nseed: 1\n", "not: [yaml"):
        (tmp_path / "params.yaml").write_text(text)
        assert cli.main([*command, "folder"]) == 0
        lines, _ = said(capsys)
        # every sample of a bootstrap over one picture is the same
        assert lines[1] == "mIoU             25.00  (no interval: only one picture)"
    (tmp_path / "params.yaml").write_text("train: {epochs: 3}\n")
    for name in ("mine", ""):  # a variable of a script that is not set
        assert cli.main([*command, name]) == 1
        assert f"{name!r} is not valid (valid: voc, " in said(capsys)[1][0]
    (tmp_path / "params.yaml").write_text("evaluate: {nam: mine}\n")
    assert cli.main([*command, "mine"]) == 1
    assert "evaluate.nam: unknown parameter" in said(capsys)[1][0]


class Four:
    """A benchmark of four pictures."""

    names = ("dog", "cat")

    def __len__(self) -> int:
        return 4
