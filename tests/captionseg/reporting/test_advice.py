"""What a run says to its user, from its numbers."""

import pytest

from captionseg.reporting.advice import COMPOSED, describe_gap, describe_source, recommend
from captionseg.sources.sources import SOURCES

HELD_OUT = {"sampled_recall": 0.45, "sampled_recall_low": 0.44, "sampled_recall_high": 0.463}
RULES = {
    "nouns": {"recall": 0.31, "held_out": HELD_OUT | {"average_precision": 0.0}},
    "cocu": {"held_out": {"average_precision": 0.12}},
    "cocu_calibrated": {"held_out": {"average_precision": 0.34}},
}


@pytest.mark.parametrize(
    ("measures", "said"),
    [
        ({}, ""),
        ({"cocu": {"recall": 0.5}}, ""),
        (
            RULES,
            "A caption names 45 % (44 to 46) of the concepts that all captions of its picture "
            "name, and 31 % of the concepts that its picture shows.",
        ),
        (
            {"nouns": {"recall": 0.314}},
            "A caption names 31 % of the concepts that its picture shows.",
        ),
    ],
)
def test_how_much_captions_leave_out(measures, said):
    assert describe_gap(measures) == said


def test_sources_that_make_their_pictures_say_so():
    assert describe_source("photo_scenes").startswith(
        "The pictures are scenes composed of photographic cut-outs, with generated captions"
    )
    assert describe_source("table") == describe_source("") == ""
    assert COMPOSED.keys() <= SOURCES.keys()


def row(low: float) -> dict:
    return {"name": "cocu-mil", "over_baseline": {"miou": low + 1.0, "low": low, "high": low + 2.0}}


def test_masks_decide_and_a_gain_has_to_be_more_than_chance():
    best = ("cocu-mil", "nouns-mil")
    assert (
        recommend([row(0.5)], best, RULES)
        == "Take cocu-mil: +1.5 mIoU over nouns-mil (+0.5 to +2.5)."
    )
    assert recommend([row(-0.5)], best, RULES).startswith(
        "Take nouns-mil: no recipe is ahead of it by more than chance, the best is cocu-mil with "
        "+0.5 mIoU over nouns-mil (-0.5 to +1.5)."
    )


def test_without_masks_captions_tell_of_rules_alone():
    said = recommend([], None, RULES)
    assert said.startswith(
        "By held-out captions cocu_calibrated adds the right concepts most often"
    )
    assert "(average precision 0.34)" in said
    assert "not measured without masks" in said
    assert recommend([], None, {"nouns": RULES["nouns"]}) == ""
    assert recommend([], None, {"cocu": {"recall": 0.5}}) == ""
