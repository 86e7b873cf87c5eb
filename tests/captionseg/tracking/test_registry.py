"""Who becomes champion: the first, the better, never the worse, and none that was scored on other
pictures.
"""

import math
from types import SimpleNamespace

import pytest

from captionseg.tracking import registry
from captionseg.tracking.logged_models import DIGEST
from captionseg.tracking.registry import NAME


def held(run):
    """alias -> (version, recipe, mIoU)."""
    client = run.store.client
    found = (
        client.get_registered_model(NAME).aliases
        if client.search_registered_models(f"name = '{NAME}'")
        else {}
    )
    versions = {alias: client.get_model_version(NAME, number) for alias, number in found.items()}
    return {
        alias: (int(v.version), v.tags["recipe"], float(v.tags["miou"]))
        for alias, v in versions.items()
    }


def decided(run):
    return run.store.client.get_run(run.parent).data.tags.get("registry", "")


def test_the_first_is_champion_by_the_tune_split_and_says_where_it_came_from(reproduce, capsys):
    run = reproduce({"a": (30.0, 10.0), "b": (20.0, 40.0)})
    assert held(run) == {"champion": (1, "a", 10.0)}, (
        "b is better on the test split, which chooses nothing"
    )
    assert decided(run) == "version 1, a, is champion: 10.00 mIoU on shapes, the first champion"
    assert capsys.readouterr().err == f"registry: {NAME}: {decided(run)}\n"
    client = run.store.client
    version = client.get_model_version_by_alias(NAME, "champion")
    recipe = client.get_run(version.run_id)
    assert (recipe.info.run_name, recipe.data.tags["role"]) == ("a", "recipe")
    logged = client.get_logged_model(version.tags["model"])
    assert version.source == logged.artifact_location
    assert version.tags[DIGEST] == logged.tags[DIGEST]
    assert version.tags["benchmark"] == "shapes"
    assert version.tags["reproduction"] == run.parent
    assert version.description == decided(run)


def test_a_better_one_takes_its_place_and_a_worse_one_is_challenger(reproduce):
    reproduce({"a": (30.0, 10.0)})
    worse = reproduce({"b": (30.0, 9.0)})
    assert held(worse) == {"champion": (1, "a", 10.0), "challenger": (2, "b", 9.0)}
    assert (
        decided(worse)
        == "version 2, b, is challenger: 9.00 mIoU on shapes against 10.00 of version 1, a"
    )
    equal = reproduce({"c": (30.0, 10.0)})
    assert held(equal)["champion"] == (1, "a", 10.0), "a tie changes nothing"
    better = reproduce({"d": (30.0, 10.1)})
    assert held(better) == {"champion": (4, "d", 10.1), "challenger": (3, "c", 10.0)}


def test_a_challenger_that_is_better_now_is_no_longer_challenger(reproduce):
    reproduce({"a": (30.0, 10.0)})
    reproduce({"b": (30.0, 9.0)})
    again = reproduce({"b": (30.0, 12.0)})
    assert held(again) == {"champion": (2, "b", 12.0)}, (
        "the same files, scored anew: no new version"
    )


def test_an_unchanged_model_is_registered_once_and_logged_once(reproduce):
    reproduce({"a": (30.0, 10.0)})
    again = reproduce({"a": (30.0, 10.0)})
    client = again.store.client
    assert decided(again) == "version 1, a: is already champion"
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 1
    assert len(client.search_logged_models([again.store.experiment])) == 1
    changed = reproduce({"a": (30.0, 11.0)}, weights={"a": b"other"})
    assert held(changed) == {"champion": (2, "a", 11.0)}


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"scores": {"b": (30.0, 99.0)}, "passed": 0}, "nothing registered: the gate failed"),
        ({"scores": {"b": (30.0, 99.0)}, "end": "KILLED"}, ""),
        ({"scores": {"b": (30.0, 99.0)}, "end": "FAILED"}, ""),
    ],
)
def test_a_missed_gate_and_a_stage_that_did_not_end_well_register_nothing(reproduce, how, said):
    reproduce({"a": (30.0, 10.0)})
    run = reproduce(**how)
    assert held(run) == {"champion": (1, "a", 10.0)}
    assert len(run.store.client.search_model_versions(f"name = '{NAME}'")) == 1
    assert decided(run) == said


def test_scores_on_other_pictures_are_not_compared(reproduce):
    reproduce({"a": (30.0, 10.0)})
    run = reproduce({"b": (30.0, 99.0)}, truth=51)
    assert held(run) == {"champion": (1, "a", 10.0), "challenger": (2, "b", 99.0)}
    assert decided(run).startswith(
        "version 2, b, is challenger: not comparable, the champion (version 1, a) was"
    )


def test_a_champion_that_is_scored_on_the_new_pictures_too_is_compared(reproduce):
    reproduce({"a": (30.0, 10.0)})
    run = reproduce({"a": (20.0, 15.0), "b": (30.0, 14.0)}, truth=51)
    assert held(run) == {"champion": (1, "a", 15.0), "challenger": (2, "b", 14.0)}


def test_without_scores_on_both_splits_nothing_is_registered(reproduce, left):
    run = reproduce({"a": (30.0, 10.0)}, end="KILLED")
    for scores in ((1.0, None), (None, 1.0), (math.nan, 1.0), (1.0, math.nan), (math.inf, 1.0)):
        entry = registry.Entry("a", "r", "m", "s", "d", "shapes", "data", *scores)
        said = registry.promote(run.store.client, [entry], {}, passed=True)
        assert said.startswith("nothing registered: no recipe has a mIoU")
    assert held(run) == {}


def test_a_champion_by_hand_without_scores_is_not_compared(reproduce):
    first = reproduce({"a": (30.0, 10.0)})
    for tag in ("miou", "benchmark", "benchmark.data"):
        first.store.client.delete_model_version_tag(NAME, "1", tag)
    run = reproduce({"b": (30.0, 99.0)})
    assert "not comparable" in decided(run)


@pytest.mark.parametrize("tags", [{}, {"miou": "nan"}])
def test_a_champion_without_a_score_gives_way(tags):
    entry = registry.Entry("b", "r", "m", "s", "d", "shapes", "data", miou=1.0, tune=1.0)
    champion = SimpleNamespace(
        version=1, tags={"benchmark": "shapes", "benchmark.data": "data", **tags}
    )
    assert registry.beats(entry, champion)[0]
