"""Lengths of captions, and how many a picture has."""

from __future__ import annotations

from captionseg.reporting.data_page.caption_statistics import (
    count_captions_per_picture,
    describe_captions,
)
from captionseg.reporting.data_page.outcomes import select_pictures
from tests.captionseg.lineage.conftest import make_row
from tests.captionseg.reporting.data_page.conftest import table


def test_captions_of_a_picture_are_counted_by_its_url(rows):
    found = count_captions_per_picture(select_pictures(rows))
    assert (found["pictures"], found["held_out"]) == (4, 4)
    assert found["rows"] == [
        {"name": "1", "seen": 3, "held_out": 4},
        {"name": "2", "seen": 1, "held_out": 0},
    ]


def test_captions():
    captions = ["click to enlarge"] * 3 + ["a cat"] * 2 + ["one two three four"]
    found = describe_captions(
        table(*(make_row(n, "x", c, "train") for n, c in enumerate(captions)))
    )
    assert found["words"] == {"low": 2, "median": 3, "mean": 17 / 6, "high": 4}
    assert (found["different"], found["total"]) == (3, 6)
    assert found["repeated"] == [
        {"text": "click to enlarge", "count": 3},
        {"text": "a cat", "count": 2},
    ]
    assert [(bar["name"], bar["count"]) for bar in found["histogram"]] == [
        ("2", 2),
        ("3", 3),
        ("4", 1),
    ]
    assert describe_captions(table()) == {}
