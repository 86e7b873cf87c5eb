"""What is read is what the stages wrote."""

import shutil
from dataclasses import replace

import numpy as np

from captionseg.datasets.shard_images import read_images
from captionseg.reporting.artifacts import Artifacts


def test_pictures_are_those_of_the_shards(recipes, folders):
    run = Artifacts(folders, recipes)
    pairs = folders.prepared.pairs
    all_of_them = {
        uid: image for shard in ("00000", "00002") for uid, image in read_images(pairs, shard)
    }
    found = run.images(list(run.pairs)[::-1])
    assert set(found) == set(run.pairs) == set(all_of_them)
    assert all(np.array_equal(found[uid], all_of_them[uid]) for uid in found)


def test_rows_of_pictures_by_uid(recipes, folders):
    run = Artifacts(folders, recipes)
    train = [uid for uid, row in run.pairs.items() if row["split"] == "train"]
    assert run.rules == ["nouns", "cocu"]
    assert {text for text, _ in run.concepts("cocu", train[:1])[train[0]]} >= {"grass", "boat"}
    # -1 pads, and is no picture
    assert run.neighbours(train[:1], 5) == {train[0]: [run.rows[1], run.rows[2]]}
    assert run.neighbours(train[:1], 1) == {train[0]: [run.rows[1]]}
    assert set(run.masks(train[:2])) == set(train[:2])
    assert run.known_classes[train[0]] == {"square", "grass", "sky"}


def test_variants_of_rules_stand_after_the_rules(recipes, folders, tmp_path):
    supervision = tmp_path / "supervision"
    shutil.copytree(folders.supervision, supervision)
    for name in ("zero", "a_variant", "cocu_calibrated"):
        shutil.copytree(folders.supervision / "cocu", supervision / name)
    run = Artifacts(replace(folders, supervision=supervision), recipes)
    assert run.rules == ["nouns", "cocu", "cocu_calibrated", "a_variant", "zero"]


def test_what_was_not_trained_or_scored_is_not_there(recipes, folders):
    run = Artifacts(folders, {**recipes, "later-mil": recipes["cocu-mil"]})
    assert set(run.fits) == set(run.scores) == set(run.curves) == set(recipes)
    assert list(run.fits["nouns-mil"]) == [0, 1]


def test_a_recipe_that_learnt_nothing_has_no_curve(recipes, folders, tmp_path):
    first, *others = recipes
    models = tmp_path / "models"
    shutil.copytree(folders.models, models)
    for curve in (models / first).glob("seeds/*/curve.csv"):
        curve.unlink()
    run = Artifacts(replace(folders, models=models), recipes)
    assert set(run.fits) == set(recipes)
    assert set(run.curves) == set(others)


def test_without_a_truth_nothing_is_known(recipes, unknown):
    run = Artifacts(unknown, recipes)
    assert run.known_classes == {}
    assert run.masks(run.pairs) == {}
    assert run.classes.names == ()
