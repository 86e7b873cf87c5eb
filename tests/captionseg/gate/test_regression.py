"""What counts as a regression, by hand."""

import pytest

from captionseg.gate.regression import (
    compare_numbers,
    compare_parameters,
    fits,
    is_dropped,
    list_differences,
    list_largest,
    tabulate,
)
from captionseg.records import UserError

ALLOWED = {"recipes.nouns-*.*.miou": 5.0, "recipes.*.*.miou": 1.0}
PARAMS = {
    "recipes": {"cocu-mil": {}, "nouns-mil": {}},
    "curate": {"rules": ["cocu"]},
    "evaluate": {"name": "p", "also": {"cocu-mil": ["tcl"]}},
}


def metrics(**recipes):
    return {
        "recipes": {
            name.replace("_", "-"): {"p": {"miou": value}, "train": {"loss": 1.0}}
            for name, value in recipes.items()
        }
    }


def only(now, base, allowed=ALLOWED, params=PARAMS):
    (change,) = [
        one
        for one in compare_numbers(allowed, now, base, params)
        if one.now is not None or one.base is not None
    ]
    return change


@pytest.mark.parametrize(
    ("now", "outcome", "margin"),
    [
        (30.0, "PASS", 1.0),
        (31.5, "PASS", 2.5),
        (29.0, "PASS", 0.0),
        (28.9, "MISS", -0.1),
        (0.0, "MISS", -29.0),
    ],
)
def test_the_tolerance_decides_and_is_part_of_what_may_be(now, outcome, margin):
    change = only(metrics(cocu_mil=now), metrics(cocu_mil=30.0))
    assert (change.outcome, change.margin, change.change) == (
        outcome,
        margin,
        pytest.approx(now - 30),
    )
    assert change.keys == ("recipes", "cocu-mil", "p", "miou")


def test_decimals_are_exact():
    assert 30.1 - 1.1 > 29.0 or 29.0 - 30.1 + 1.1 != 0  # in binary fractions
    assert (
        only(metrics(cocu_mil=29.0), metrics(cocu_mil=30.1), {"recipes.*.*.miou": 1.1}).margin
        == 0.0
    )


def test_the_first_pattern_that_fits_decides():
    assert only(metrics(nouns_mil=26.0), metrics(nouns_mil=30.0)).margin == 1.0


def test_a_star_is_one_name():
    assert fits(("recipes", "a-mil", "p@tcl", "miou"), "recipes.*.*.miou")
    assert not fits(("recipes", "a-mil", "p", "over_control", "miou"), "recipes.*.*.miou")
    assert not fits(("recipes", "a-mil", "miou"), "recipes.*.*.miou")


def test_a_recipe_that_is_gone_is_a_miss_unless_the_params_dropped_it():
    change = only(metrics(), metrics(cocu_mil=30.0))
    assert (change.outcome, change.remark) == ("MISS", "missing, but still in params.yaml")
    change = only(metrics(), metrics(other_mil=30.0))
    assert (change.outcome, change.remark) == ("NOTE", "removed from params.yaml")


@pytest.mark.parametrize(
    ("path", "gone"),
    [
        ("recipes.cocu-mil.p.miou", False),
        ("recipes.cocu-mil.p@tcl.miou", False),
        ("recipes.cocu-mil.p@use.miou", True),
        ("recipes.nouns-mil.p@tcl.miou", True),
        ("recipes.cocu-mil.q.miou", True),
        ("recipes.cocu-mil.train.loss", False),
        ("curation.cocu.recall", False),
        ("curation.nouns.recall", True),
        ("curation.dropped.leak", True),
        ("segments.recall", False),
    ],
)
def test_what_the_params_no_longer_ask_for(path, gone):
    assert is_dropped(tuple(path.split(".")), PARAMS) == gone


def test_marks_are_asked_for_where_there_are_markers():
    marked = {**PARAMS, "curate": {**PARAMS["curate"], "marks": {"near": {}}}}
    assert not is_dropped(("curation", "dropped", "leak"), marked)


def test_new_numbers_and_idle_patterns_are_notes():
    change = only(metrics(cocu_mil=30.0), metrics())
    assert (change.outcome, change.remark) == ("NOTE", "new")
    (idle,) = compare_numbers({"recipes.*.*.miuo": 1.0}, metrics(cocu_mil=1.0), {}, PARAMS)
    assert (idle.outcome, idle.keys, idle.remark) == (
        "NOTE",
        ("recipes.*.*.miuo",),
        "matches no number",
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "30", True])
def test_what_is_no_number_passes_nothing(value):
    assert only(metrics(cocu_mil=value), metrics(cocu_mil=30.0)).outcome == "MISS"


def test_a_base_that_is_no_number_holds_nobody_back():
    assert only(metrics(cocu_mil=30.0), metrics(cocu_mil=float("nan"))).outcome == "NOTE"


@pytest.mark.parametrize(
    ("now", "said"), [(27.0, "below 28 to 31.5"), (29.5, "28 to 31.5"), (32.0, "above 28 to 31.5")]
)
def test_the_interval_is_shown_and_decides_nothing(now, said):
    base = {"recipes": {"cocu-mil": {"p": {"miou": 30.0, "miou_low": 28.0, "miou_high": 31.5}}}}
    change = only(metrics(cocu_mil=now), base, {"recipes.*.*.miou": 4.0})
    assert (change.interval, change.outcome) == (said, "PASS")


def test_a_fall_below_zero_is_refused():
    with pytest.raises(UserError, match=r"^regression\.a: expected 0 or more, found -1$"):
        compare_numbers({"a": -1.0}, {}, {}, {})


def test_as_a_part_every_number_has_its_line():
    found = compare_numbers(
        ALLOWED,
        metrics(cocu_mil=28.0, nouns_mil=31.0),
        metrics(cocu_mil=30.0, nouns_mil=30.0),
        PARAMS,
    )
    assert [line.cells[:5] for line in tabulate(found, "x").findings] == [
        ("recipes.nouns-mil.p.miou", "31", "30", "+1", "+6"),
        ("recipes.cocu-mil.p.miou", "28", "30", "-2", "-1"),
    ]


def test_the_largest_gains_come_first_and_losses_last():
    names = [f"r{i}_mil" for i in range(6)]
    now = metrics(**{name: 30.0 + i - 3 for i, name in enumerate(names)})
    now["recipes"]["r5-mil"]["p"]["loss"] = 0.0
    base = metrics(**dict.fromkeys(names, 30.0))
    found = compare_numbers({"recipes.*.*.miou": 9.0}, now, base, {})
    assert [line.cells[0] for line in list_largest(found, 2).findings] == [
        "r5-mil",
        "r4-mil",
        "r1-mil",
        "r0-mil",
    ]
    assert list_largest(found, 2).findings[0].cells == ("r5-mil", "32", "30", "+2", "p.miou")


def test_parameters_that_differ():
    old = {"a": {"b": 1, "c": [1, 2]}, "gone": {}}
    new = {"a": {"b": 2, "c": [1, 2]}, "new": "x"}
    assert list_differences(old, new) == [("a.b", "1", "2"), ("gone", "{}", "-"), ("new", "-", "x")]
    assert [line.cells for line in compare_parameters(new, old).findings] == list_differences(
        old, new
    )
    many = {str(i): i for i in range(40)}
    assert compare_parameters(many, {}).findings[-1].cells == ("and 10 more",)
