"""The gate's parser and verdicts, by hand."""

import pytest

from captionseg.records import UserError
from captionseg.reporting.gate import judge, lookup, parse, table

METRICS = {"recipes": {"cocu-mil": {"photo_scenes": {"miou": 32.3}}, "nouns-mil": {"photo_scenes": {"miou": 29.3}}},
           "curation": {"cocu": {"recall": 0.6}, "nouns": {"recall": 0.3}}, "gate": {"passed": True}}  # fmt: skip
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
        ("recipes.cocu-mil.photo_scenes.miou.x", "no recipes.cocu-mil.photo_scenes.miou.x (there: nothing)"),
        ("segments.recall", "no segments (there: recipes, curation, gate)"),
        ("recipes.cocu-mil", "is not a number"),
        ("gate.passed", "is not a number"),
    ],
)
def test_a_path_that_leads_nowhere_is_a_miss_that_says_where_it_ends(path, said):
    verdict = only(f"{path} <= 1000")
    assert not verdict.passed
    assert verdict.value is None
    assert said in verdict.reason
    (line,) = table({"rule": f"{path} <= 1000"}, METRICS, "").lines
    assert (line.outcome, line.cells) == ("MISS", ("rule", "", "<= 1000", "", verdict.reason))


def test_a_number_that_is_none_passes_nothing():
    assert not any(only(f"curation.x {sign} 0", {"curation": {"x": float("nan")}}).passed for sign in (">=", "<", "=="))


@pytest.mark.parametrize("text", ["", "1", "1 >=", ">= 1", "1 >= 2 >= 3", "1 2 >= 3", "1 - >= 3", "- 1 >= 3", "1>=3",
                                  "__import__('os') - 1 + >= 0"])  # fmt: skip
def test_what_is_no_rule_is_refused_with_its_name(text):
    with pytest.raises(UserError, match=r"^gate\.mine: "):
        parse("mine", text)


def test_nothing_is_evaluated():
    with pytest.raises(LookupError):
        lookup({}, "__import__('os').getcwd()")


def test_as_a_part_each_rule_has_value_bound_and_margin():
    (line,) = table({"more": f"{COCU} - {NOUNS} >= 2 * 1"}, METRICS, "").lines
    assert (line.outcome, line.cells[:4]) == ("PASS", ("more", "3", ">= 2 * 1", "+1"))
