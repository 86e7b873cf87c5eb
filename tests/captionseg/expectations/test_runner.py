"""How outcomes of Great Expectations become a report."""

import functools
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from tests.imported_late import import_late

quiet = import_late("captionseg.expectations.quiet")
runner = import_late("captionseg.expectations.runner")
suites = import_late("captionseg.expectations.suite")


def test_a_report_by_hand(tmp_path: Path) -> None:
    expect = quiet().expect
    frame = pd.DataFrame({"uid": ["a", "b", "b", "c"], "x": [1.0, 2.0, 9.0, float("nan")]})
    suite = suites().Suite.of(
        "t",
        frame,
        [
            expect.ExpectColumnValuesToBeUnique(column="uid"),
            # NaN counts as missing here, not as large
            expect.ExpectColumnValuesToBeBetween(column="x", max_value=5),
            expect.ExpectColumnMeanToBeBetween(column="x", min_value=4, max_value=4),
            expect.ExpectColumnMaxToBeBetween(column="none", min_value=0),  # cannot be computed
        ],
    )
    report = runner().run([suite], tmp_path / "docs", examples=1)
    assert not report["success"]
    assert report["statistics"] == {"expectations": 4, "failed": 2, "exceptions": 1}
    unique, between, mean = report["tables"]["t"]["expectations"]
    assert (unique["observed"], unique["examples"]) == ({"rows": 4, "unexpected": 2}, ["b"])
    assert (between["observed"], between["examples"]) == ({"rows": 4, "unexpected": 1}, ["b"])
    assert mean["success"]
    assert mean["observed"] == 4.0
    (raised,) = report["tables"]["t"]["exceptions"]
    assert raised["column"] == "none"
    assert raised["message"]
    assert "\n" not in raised["message"]
    assert (tmp_path / "docs" / "index.html").exists()


def test_plain_values() -> None:
    assert runner().to_json(float("nan")) == "nan"
    assert runner().to_json(None) is None
    assert runner().to_json(pd.Series([3])[0]) == 3


def test_of_several_suites_one_part_is_in_memory(tmp_path: Path) -> None:
    """Great Expectations keeps every frame that it is given."""
    given: list[pd.DataFrame] = []

    def make_parts(good: bool) -> Iterator[pd.DataFrame]:
        for uid in "ab":
            assert [list(frame) for frame in given] == [[]] * len(given)
            given.append(pd.DataFrame({"uid": [uid], "good": [good or uid == "a"]}))
            yield given[-1]

    both = (
        suites().Suite(
            f"suite {i}", functools.partial(make_parts, i > 0), suites().expect_true("good")
        )
        for i in range(2)
    )
    result = runner().run(both, tmp_path / "docs", examples=3)
    assert [table["rows"] for table in result["tables"].values()] == [2, 2]
    assert result["tables"]["suite 0"]["expectations"][0]["examples"] == ["b"]
    assert result["tables"]["suite 1"]["success"]
    assert len(given) == 4
