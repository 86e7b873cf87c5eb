"""What a recipe scored is a metric of its own, and told of at once, whatever becomes of the
reports.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from captionseg.benchmarks.recipe import RecipeResult
from captionseg.params import Params
from captionseg.tracking.tracker import NullTracker
from stages import evaluate

PARAMS = """
seed: 0
evaluate: {name: shapes}
recipes: {a-mil: {curation: nouns, archive: nouns}}
"""
INPUTS = ("pairs", "index", "regions", "features", "truth")


class Listener(NullTracker):
    def summary(self, values, paths=()):
        self.told = (values, list(paths))

    def recipes(self, numbers, labels, **how):
        self.of_recipes = (numbers, list(labels), how)


def test_the_scores_of_a_recipe_are_its_own(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text(PARAMS)
    result = {
        "scores": {"miou": 15.38},
        "per_class": {"sky": 60.0},
        "seeds": {"0": 15.38},
        "also": {"tcl": {"scores": {"miou": 9.0}, "per_class": {"sky": 1.0}}},
    }
    found = RecipeResult(result, np.ones((1, 1, 3, 2), np.int64), ["u"], [0], 5.0)
    monkeypatch.setattr(evaluate, "evaluate", lambda *_, **__: found)
    paths = {name: tmp_path / name for name in INPUTS}
    outs = {name: tmp_path / f"{name}.out" for name in ("scores", "metrics", "areas")}
    tracker, model = Listener(), tmp_path / "models" / "a-mil"
    evaluate.main(
        Params(tmp_path / "params.yaml"),
        recipe="a-mil",
        model=model,
        **paths,
        **outs,
        tracker=tracker,
    )
    mine = {"a-mil": {"shapes": {"miou": 15.38}, "shapes@tcl": {"miou": 9.0}}}
    assert json.loads(outs["metrics"].read_text()) == mine, (
        "no rows for every class in `dvc exp show`"
    )
    assert json.loads(outs["scores"].read_text())["per_class"] == {"sky": 60.0}
    assert tracker.told == ({"recipes": mine}, [])
    numbers, names, how = tracker.of_recipes
    assert (numbers, names) == ({"recipes": mine}, ["a-mil"])
    assert how == {
        "benchmark": "shapes",
        "folders": {
            "models": Path(tmp_path / "models"),
            "areas": outs["areas"],
            "pairs": paths["pairs"],
        },
    }


def test_without_masks_there_is_no_score_to_show(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text(PARAMS)
    nothing = RecipeResult(
        {"scores": {}, "per_class": {}, "seeds": {}}, np.zeros((0, 1, 3, 0), np.int64), [], [0], 0.0
    )
    monkeypatch.setattr(evaluate, "evaluate", lambda *_, **__: nothing)
    paths = {name: tmp_path / name for name in (*INPUTS, "model", "scores", "metrics", "areas")}
    params = Params(tmp_path / "params.yaml")
    measured = evaluate.main(params, recipe="a-mil", **paths, tracker=Listener())
    assert measured == {}
    assert json.loads(paths["metrics"].read_text()) == {"a-mil": {}}
