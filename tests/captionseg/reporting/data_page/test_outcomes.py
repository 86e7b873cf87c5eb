"""Outcomes, splits, duplicates and sizes."""

from __future__ import annotations

import pytest

from captionseg.reporting.data_page.outcomes import (
    count_duplicates,
    count_outcomes,
    count_splits,
    describe_sizes,
    select_pictures,
)
from tests.captionseg.lineage.conftest import make_row
from tests.captionseg.reporting.data_page.conftest import table


def test_outcomes_are_counted_by_reason(rows):
    success, failed = count_outcomes(rows)
    assert (success["status"], success["reason"], success["count"]) == ("success", "", 5)
    assert (failed["status"], failed["reason"]) == ("failed_to_download", "not_found")
    assert failed["share"] == pytest.approx(100 / 6)
    assert failed["example"] == "404 [2J"
    assert "no such file" in failed["meaning"]


def test_splits(rows):
    train, test = count_splits(rows)
    assert (train["rows"], train["pairs"], train["pictures"]) == (5, 4, 3)
    assert (test["split"], test["rows"], test["pairs"]) == ("test", 1, 1)


def test_duplicates_come_from_several_sources(rows):
    """Two captions of one picture are no duplicate; a picture of two URLs is one."""
    found = count_duplicates(select_pictures(rows))
    exact = found["exact"]
    assert (exact["groups"], exact["pictures"], exact["across"]) == (1, 2, 1)
    assert exact["keys"] == [rows["sha256"][0].as_py()]
    assert found["near"]["groups"] == 0
    twin = {**rows.slice(0, 1).to_pylist()[0], "sha256": "0" * 64, "url": "elsewhere"}
    assert count_duplicates(table(*rows.slice(0, 1).to_pylist(), twin))["near"]["pictures"] == 2


def test_sizes_are_those_of_the_originals(rows):
    found = describe_sizes(select_pictures(rows))
    assert [bar["name"] for bar in found["bars"] if bar["count"]] == ["256\N{EN DASH}511"]
    assert (found["short"]["median"], found["kept"]["median"], found["long"]) == (480, 48, 0)
    unknown = make_row(0, "x", "a", "train", original_width=None, original_height=None)
    assert describe_sizes(table(unknown)) == {}
