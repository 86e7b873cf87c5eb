"""The stage hands every path on, and tells the tracker what the whole reproduction reached."""

from pathlib import Path

import pytest

from captionseg.params import Params
from captionseg.tracking.tracker import NullTracker
from stages import arguments, report
from stages.kinds import In, Out

DATA = ("pairs", "truth", "index", "regions", "features", "supervision", "segments")
INPUTS = (*DATA, "models", "recipes", "areas", "curation", "validation")
OUTPUTS = ("metrics", "summary", "plots", "pictures", "page", "data")
PARAMS = """
seed: 7
download: {source: shapes}
evaluate: {windows: {crop: 5}}
report: {scenes: 2}
recipes: {a-mil: {curation: nouns, archive: nouns}}
about: {a-mil: first}
gate: {more: "recipes.a-mil.p.miou > 0"}
"""


class Listener(NullTracker):
    def __init__(self):
        self.told = []

    def summary(self, values, paths=()):
        self.told.append((values, list(paths)))

    def recipes(self, numbers, labels, **how):
        self.of_recipes = (numbers, labels, how)


@pytest.fixture
def params(tmp_path):
    (tmp_path / "params.yaml").write_text(PARAMS)
    return Params(tmp_path / "params.yaml")


def test_paths_and_params_are_handed_on(params, monkeypatch):
    seen = {}
    metrics = {"gate": {"passed": 1}, "data": {"pairs": 3}}
    monkeypatch.setattr(
        report, "write", lambda *args, **named: seen.update(args=args, **named) or metrics
    )
    paths, tracker = {name: Path(name) for name in (*INPUTS, *OUTPUTS)}, Listener()
    assert report.main(params, **paths, tracker=tracker) == {"gate.passed": 1.0}
    folders, out, section = seen["args"]
    assert {**vars(folders.prepared), **vars(folders)} == {
        "prepared": folders.prepared,
        **{name: Path(name) for name in INPUTS},
    }
    assert vars(out) == {name: Path(name) for name in OUTPUTS}
    assert seen["scored"].windows.crop == 5
    assert (seen["scored"].name, seen["source"]) == ("shapes", "shapes")
    numbers, labels, how = tracker.of_recipes
    assert numbers is metrics
    assert labels == {
        "a-mil": {
            "recipe": "a-mil",
            "curation": "nouns",
            "archive": "nouns",
            "model": "segment_mil",
            "preset": "none",
            "benchmark": "shapes",
            "seeds": "1",
        }
    }
    assert how == {
        "benchmark": "shapes",
        "folders": {name: paths[name] for name in ("models", "areas", "pairs", "pictures")},
    }
    assert seen["recipes"]["a-mil"].about == "first"
    assert (section.scenes, seen["seed"], list(seen["recipes"]), list(seen["gate"])) == (
        2,
        7,
        ["a-mil"],
        ["more"],
    )
    logged = [Path(name) for name in OUTPUTS if name != "summary"]
    assert tracker.told == [(metrics, logged)], "the summary repeats numbers of the metrics"


def test_inputs_and_outputs_are_declared(tmp_path):
    argv = [word for name in (*INPUTS, *OUTPUTS) for word in (f"--{name}", str(tmp_path))]
    _, kinds = arguments.parse(report.main, "report", argv)
    assert [name for name, kind in kinds.items() if kind is In] == list(INPUTS)
    assert [name for name, kind in kinds.items() if kind is Out] == list(OUTPUTS)


def test_every_section_that_is_read_is_declared():
    assert {"seed", "download.source", "evaluate", "report", "recipes", "about", "gate"} == set(
        report.PARAMS
    )
