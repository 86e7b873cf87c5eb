"""The gate's parser and verdicts, by hand."""

import pytest

from captionseg.gate.findings_table import render_comment, summarize
from captionseg.gate.thresholds import check_thresholds, judge, lookup, parse
from captionseg.records import UserError

METRICS = {
    "recipes": {
        "cocu-mil": {"photo_scenes": {"miou": 32.3}},
        "nouns-mil": {"photo_scenes": {"miou": 29.3}},
    },
    "curation": {"cocu": {"recall": 0.6}, "nouns": {"recall": 0.3}},
    "gate": {"passed": True},
}
COCU, NOUNS = "recipes.cocu-mil.photo_scenes.miou", "recipes.nouns-mil.photo_scenes.miou"


def only(text, metrics=METRICS):
    (verdict,) = judge({"rule": text}, metrics)
    return verdict


def test_names_hold_dashes_and_a_difference_of_decimals_is_exact():
    assert 32.3 - 29.3 < 3  # in binary fractions, and no rule may hang on that
    verdict = only(f"{COCU} - {NOUNS} >= 3")
    assert (verdict.passed, verdict.value, verdict.margin) == (True, 3.0, 0.0)
    assert not only(f"{COCU} - {NOUNS} > 3").passed
    assert only(f"{COCU} - {NOUNS} == 3").passed


@pytest.mark.parametrize(
    ("text", "passed", "value", "margin"),
    [
        ("curation.cocu.recall >= 2 * curation.nouns.recall", True, 0.6, 0.0),
        ("2 + 3 * 4 - 1 == 13", True, 13.0, 0.0),  # * before + and -
        ("2 * 3 - 4 * 5 + 1 < -12", True, -13.0, 1.0),
        ("1 <= 0.5", False, 1.0, -0.5),
        ("1 - -2 > 2.5", True, 3.0, 0.5),
        ("1 == 2", False, 1.0, -1.0),
    ],
)
def test_sums_of_products_and_comparisons(text, passed, value, margin):
    verdict = only(text)
    assert (verdict.passed, verdict.value, verdict.margin) == (passed, value, margin)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("recipes.coco-mil.photo_scenes.miou", "no recipes.coco-mil; did you mean 'cocu-mil'?"),
        (
            "recipes.cocu-mil.photo_scenes.miou.x",
            "no recipes.cocu-mil.photo_scenes.miou.x (found: nothing)",
        ),
        ("segments.recall", "no segments (found: recipes, curation, gate)"),
        ("recipes.cocu-mil", "is not a number"),
        ("gate.passed", "is not a number"),
    ],
)
def test_a_path_that_leads_nowhere_is_a_miss_that_says_where_it_ends(path, said):
    verdict = only(f"{path} <= 1000")
    assert not verdict.passed
    assert verdict.value is None
    assert said in verdict.reason
    (line,) = check_thresholds({"rule": f"{path} <= 1000"}, METRICS, "").findings
    assert (line.outcome, line.cells) == ("MISS", ("rule", "", "<= 1000", "", verdict.reason))


def test_a_number_that_is_none_passes_nothing():
    assert not any(
        only(f"curation.x {sign} 0", {"curation": {"x": float("nan")}}).passed
        for sign in (">=", "<", "==")
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1 >=",
        ">= 1",
        "1 >= 2 >= 3",
        "1 2 >= 3",
        "1 - >= 3",
        "- 1 >= 3",
        "1>=3",
        "__import__('os') - 1 + >= 0",
    ],
)
def test_what_is_no_rule_is_refused_with_its_name(text):
    with pytest.raises(UserError, match=r"^gate\.mine: "):
        parse("mine", text)


def test_nothing_is_evaluated():
    with pytest.raises(LookupError):
        lookup({}, "__import__('os').getcwd()")


def test_as_a_part_each_rule_has_value_bound_and_margin():
    (line,) = check_thresholds({"more": f"{COCU} - {NOUNS} >= 2 * 1"}, METRICS, "").findings
    assert (line.outcome, line.cells[:4]) == ("PASS", ("more", "3", ">= 2 * 1", "+1"))


# ------------------------------------------------------------------------------------------------
# not measured


FOLDER = {
    "data": {"source": "folder", "masks": {"train": 0, "tune": 0, "test": 0}, "scored": "test"},
    "recipes": {"cocu-mil": {"train": {"loss": 1.0}}},
    "curation": {"cocu": {"kept": 1.0}},
    "segments": {"per_image": 3.0},
}


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("recipes.cocu-mil.folder.miou", "no masks of the test split"),
        ("recipes.cocu-mil.folder@tcl.miou", "no masks of the test split"),
        ("recipes.cocu-mil.photo_scenes.miou", "photo_scenes is not the data of this run (folder)"),
        ("recipes.cocu-mil.train.tune_miou", "no masks of the tune split"),
        ("curation.cocu.recall", "no masks of the train split"),
        ("segments.text_precision", "no masks of the train split"),
    ],
)
def test_what_cannot_be_measured_on_these_data_is_skipped_with_a_line(path, why):
    (line,) = check_thresholds({"rule": f"{path} >= 3"}, FOLDER, "").findings
    assert (line.outcome, line.cells) == ("SKIP", ("rule", "", ">= 3", "", f"not measured: {why}"))
    section = check_thresholds(
        {"rule": f"{path} >= 3", "other": "segments.per_image > 1"}, FOLDER, ""
    )
    assert summarize([section]) == (
        True,
        "gate passed: 1 checks, 1 skipped: not measurable on these data",
    )
    assert f"not measured: {why.split(' (')[0]}" in render_comment([section]).replace("\\", "")


@pytest.mark.parametrize(
    "path",
    [
        "recipes.coco-mil.folder.miou",
        "curation.coco.recall",
        "curation.cocu.kepd",
        "segments.per_imag",
        "recipes.cocu-mil.train.los",
    ],
)
def test_what_should_be_there_is_missed_whatever_the_data(path):
    assert check_thresholds({"rule": f"{path} >= 3"}, FOLDER, "").findings[0].outcome == "MISS"
    both = f"recipes.cocu-mil.folder.miou - {path} >= 3"  # one excuse does not excuse the other
    assert check_thresholds({"rule": both}, FOLDER, "").findings[0].outcome == "MISS"


def test_with_masks_nothing_is_excused():
    there = {**FOLDER, "data": {**FOLDER["data"], "masks": {"train": 9, "tune": 9, "test": 9}}}
    for path in (
        "recipes.cocu-mil.folder.miou",
        "recipes.cocu-mil.train.tune_miou",
        "curation.cocu.recall",
        "segments.recall",
        "recipes.cocu-mil.photo_scene.miou",
    ):
        assert (
            check_thresholds({"rule": f"{path} >= 3"}, there, "").findings[0].outcome == "MISS"
        ), path
