"""Which recipes learnt from a pair."""

from __future__ import annotations

import pytest

from captionseg.lineage.training import judge_training
from tests.captionseg.lineage.conftest import history


def test_other_pairs_than_a_recipe_was_trained_on(run, capsys):
    path = run.root / "models" / "nouns-mil" / "config.json"
    path.write_text(path.read_text().replace('"ids": "', '"ids": "0'))
    found = {r["recipe"]: r for r in history(capsys, run.train[0]["uid"])["recipes"]}
    assert found["nouns-mil"]["trained"] is None
    assert found["nouns-mil"]["why"].startswith("trained on other pairs than those of data/index")


PAIR = {"status": "success", "split": "train"}
KEPT, DROPPED = {"nouns": {"kept": True}}, {"nouns": {"kept": False, "drop_reason": "no_concept"}}
RECIPE, FIT = {"curation": "nouns"}, {0: {"loss": 1.0}}


@pytest.mark.parametrize(
    ("pair", "rules", "recipe", "fits", "same", "trained", "why"),
    [
        (PAIR, KEPT, RECIPE, FIT, True, True, "kept by nouns"),
        (PAIR, KEPT, RECIPE, FIT, None, True, "kept by nouns"),
        (PAIR, DROPPED, RECIPE, FIT, True, False, "dropped by nouns: no_concept"),
        (PAIR, KEPT, RECIPE, {0: {}}, True, False, "learns nothing"),
        (PAIR, KEPT, {}, FIT, True, None, "params.yaml has no such recipe"),
        (PAIR, {}, RECIPE, FIT, True, None, "run `dvc repro curate`"),
        (PAIR, None, RECIPE, FIT, True, None, "run `dvc repro curate`"),
        (PAIR | {"split": "tune"}, KEPT, RECIPE, FIT, True, False, "of the tune split"),
        (PAIR | {"status": "failed_to_resize"}, KEPT, RECIPE, FIT, True, False, "no picture"),
        (PAIR, KEPT, RECIPE, FIT, False, None, "trained on other pairs"),
    ],
)
def test_who_learnt_from_a_pair(pair, rules, recipe, fits, same, trained, why):
    found = judge_training(pair, rules, recipe, fits, same)
    assert found[0] is trained
    assert why in found[1]
