"""Which pictures are shown as good, typical and bad."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from captionseg.reporting.artifacts import Artifacts
from captionseg.reporting.scene_choice import (
    Scene,
    choose_scenes,
    find_best,
    name_rank,
    score_pictures,
    spread,
)


def test_ranks_are_spread_from_the_upper_to_the_lower_tenth():
    score = {f"{i:02d}": float(i % 7 * 10 + i) for i in range(21)}
    ranked = sorted(score, key=lambda uid: score[uid])
    assert [scene.uid for scene in spread(score, 3)] == [ranked[18], ranked[10], ranked[2]]
    assert [scene.kind for scene in spread(score, 3)] == ["good", "typical", "bad"]
    assert [scene.worse for scene in spread(score, 3)] == pytest.approx(
        [1800 / 21, 1000 / 21, 200 / 21]
    )
    assert [scene.uid for scene in spread(score, 1)] == [ranked[10]]
    assert spread(score, 0) == []
    assert spread({"a": 1.0}, 3) == [Scene("a", "bad", 0.0)], "no picture twice"


def test_names_of_ranks():
    assert [name_rank(share) for share in (0.9, 0.5, 0.1)] == ["good", "typical", "bad"]


def test_a_picture_counts_by_its_known_pixels_and_the_mean_over_seeds():
    areas = np.zeros((3, 2, 3, 2), np.int64)
    areas[0, 0, 0], areas[0, 1, 0], areas[0, :, 2] = (6, 2), (0, 0), (8, 2)
    areas[1, :, 0], areas[1, :, 2] = (1, 0), (4, 0)
    run = SimpleNamespace(areas={"r": areas}, scored=["a", "b", "unknown"])
    assert score_pictures(run, "r") == {"a": 0.4, "b": 0.25}


def test_the_best_is_chosen_on_the_tune_split(recipes, folders):
    run = Artifacts(folders, recipes)
    assert find_best(run) == "cocu-mil"
    fits = {"nouns-mil": {0: {"tune_miou": 40.0}, 1: {"tune_miou": 8.0}}, "cocu-mil": {0: {}}}
    assert find_best(SimpleNamespace(fits=fits, scores=run.scores)) == "nouns-mil"
    assert find_best(SimpleNamespace(fits={}, scores=run.scores)) == "cocu-mil", "by mIoU"
    assert find_best(SimpleNamespace(fits={}, scores={})) is None


def test_pictures_that_were_not_scored_are_drawn_at_random(recipes, folders):
    run = Artifacts(folders, recipes)
    assert [scene.kind for scene in choose_scenes(run, "cocu-mil", "test", 3, seed=0)] == [
        "good",
        "typical",
        "bad",
    ]
    others = choose_scenes(run, "cocu-mil", "train", 3, seed=0)
    assert [dataclasses.replace(scene, uid="") for scene in others] == [Scene("")] * 3
    assert others != choose_scenes(run, "cocu-mil", "train", 3, seed=1)
    assert choose_scenes(run, None, "test", 2, seed=0)[0].worse is None
