"""A table in parts has the report and the pages of the whole table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from captionseg.expectations.known_pairs import Uids, hash_texts, look_up
from tests.imported_late import import_late

quiet = import_late("captionseg.expectations.quiet")
results = import_late("captionseg.expectations.results")
runner = import_late("captionseg.expectations.runner")
suites = import_late("captionseg.expectations.suite")
whole = import_late("captionseg.expectations.whole")

NAN = float("nan")
ROWS = pd.DataFrame(
    {
        "key": list("abcdefghijkl"),
        "uid": ["p", "q", None, "q", "r", "s", "t", "q", None, "u", "v", "s"],
        "good": [True] * 5 + [False] + [True] * 4 + [False, True],
        "size": [3.0, 4, NAN, 9, 1, 2, 2, 2, 7, NAN, 5, 1],
        "other": [3.0, 4, 5, 9, 1, 0, 2, 2, 0, 8, 5, 1],
        "text": ["x", "", "xx", "x", "y", "y", "z", "w", "x", "x", "xyz", "y"],
        "group": list("aaaabbbbcccc"),
    }
)


def build_expectations() -> list[Any]:
    expect = quiet().expect
    between = expect.ExpectColumnValuesToBeBetween
    mean, median = expect.ExpectColumnMeanToBeBetween, expect.ExpectColumnMedianToBeBetween
    share = expect.ExpectColumnProportionOfUniqueValuesToBeBetween
    count = expect.ExpectTableRowCountToBeBetween
    return [
        *suites().expect_not_null("uid", "key"),
        *suites().expect_true("good"),
        expect.ExpectColumnValuesToBeInSet(column="good", value_set=[True], mostly=10 / 12),
        expect.ExpectColumnValuesToBeUnique(column="uid"),
        expect.ExpectColumnValuesToBeUnique(column="key"),
        between(column="size", min_value=2, max_value=8),
        between(column="size", max_value=8, mostly=0.9),
        between(column="size", max_value=8, mostly=0.91),
        expect.ExpectColumnPairValuesToBeEqual(column_A="size", column_B="other"),
        expect.ExpectColumnValueLengthsToBeBetween(
            column="text", min_value=2, row_condition=quiet().Column("group") == "c"
        ),
        expect.ExpectColumnValuesToMatchRegex(column="text", regex="^[xy]+$"),
        mean(column="size", min_value=3.6, max_value=3.6),  # 36 / 10
        mean(column="size", min_value=3.6, strict_min=True),
        median(column="size", min_value=2.5, max_value=2.5),  # of 1 1 2 2 2 3 4 5 7 9
        median(column="other", max_value=2),  # 2.5 of 0 0 1 1 2 2 3 4 5 5 8 9
        share(column="text", min_value=7 / 12),  # x "" xx y z w xyz
        share(column="uid", max_value=0.69),  # 7 of 10
        count(min_value=12, max_value=12),
        count(max_value=11),
        expect.ExpectCompoundColumnsToBeUnique(column_list=["group", "text"]),
    ]


def cut(*ends: int) -> Any:
    """The suite of ROWS, in parts that end at some rows; the first has none."""

    def list_parts() -> Iterator[pd.DataFrame]:
        yield ROWS[:0].copy()
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            yield ROWS[start:end].reset_index(drop=True)

    return suites().Suite("table", list_parts, build_expectations(), key="key", together="group")


def name(entry: dict[str, Any]) -> tuple[str, str]:
    return entry["expectation"].removeprefix("expect_"), entry["column"]


def find(entries: list[dict[str, Any]], expectation: str, column: str) -> dict[str, Any]:
    """The one entry of an expectation of a column; their order is Great Expectations'."""
    (found,) = (entry for entry in entries if name(entry) == (expectation, column))
    return found


def read_cells(docs: Path) -> list[str]:
    """The cells of all tables: not the query that finds failing rows in a frame, which follows
    them, and without hashes of frames and numbers of elements.
    """
    pages = "".join(path.read_text() for path in sorted(docs.rglob("*.html")))
    cells = re.findall(r"<td[^>]*>.*?</td>", pages, re.S)
    return [re.sub(r"section-\d+-[^\"]*|\b[0-9a-f]{32}\b", "", cell) for cell in cells]


def test_parts_have_the_report_of_the_whole(tmp_path: Path) -> None:
    reports = [
        runner().run([suite], tmp_path / str(number), examples=3)
        for number, suite in enumerate([cut(12), cut(4, 8, 12), cut(8, 12)])
    ]
    assert reports[1] == reports[0]
    assert reports[2] == reports[0]
    entries = reports[0]["tables"]["table"]["expectations"]
    assert sorted(name(entry) for entry in entries if not entry["success"]) == [
        ("column_mean_to_be_between", "size"),
        ("column_median_to_be_between", "other"),
        ("column_pair_values_to_be_equal", "size, other"),
        ("column_proportion_of_unique_values_to_be_between", "uid"),
        ("column_value_lengths_to_be_between", "text"),
        ("column_values_to_be_between", "size"),
        ("column_values_to_be_between", "size"),
        ("column_values_to_be_in_set", "good"),
        ("column_values_to_be_unique", "uid"),
        ("column_values_to_match_regex", "text"),
        ("column_values_to_not_be_null", "uid"),
        ("compound_columns_to_be_unique", "group, text"),
        ("table_row_count_to_be_between", ""),
    ]
    unique = find(entries, "column_values_to_be_unique", "uid")
    assert unique["observed"] == {"rows": 12, "unexpected": 5}
    assert unique["examples"] == ["b", "d", "f"]
    cells = [read_cells(tmp_path / str(number)) for number in range(3)]
    assert len(cells[0]) > len(entries)
    assert cells[1] == cells[0]
    assert cells[2] == cells[0]


def test_an_expectation_that_parts_cannot_answer_is_refused(tmp_path: Path) -> None:
    for expectation in (
        quiet().expect.ExpectColumnMaxToBeBetween(column="size", max_value=9),
        quiet().expect.ExpectCompoundColumnsToBeUnique(column_list=["uid", "text"]),
    ):
        suite = suites().Suite(
            "table", cut(4, 12).frames, [expectation], key="key", together="group"
        )
        with pytest.raises(TypeError, match=f"{expectation.expectation_type} looks at more than"):
            runner().run([suite], tmp_path / "docs", examples=3)


def test_what_cannot_be_computed_of_a_part_is_an_exception(tmp_path: Path) -> None:
    parts = [pd.DataFrame({"uid": ["a"], "x": [1]}), pd.DataFrame({"uid": ["b"]})]
    for order in (parts, parts[::-1], [parts[0], parts[1], parts[0]]):
        frames = [part.copy() for part in order]
        rules = [
            quiet().expect.ExpectColumnValuesToMatchRegex(column="uid", regex="a"),
            quiet().expect.ExpectColumnValuesToBeBetween(column="x", max_value=2),
        ]
        suite = suites().Suite("table", lambda frames=frames: iter(frames), rules)
        report = runner().run([suite], tmp_path / "docs", examples=3)
        assert report["statistics"] == {"expectations": 2, "failed": 1, "exceptions": 1}
        assert not report["success"]
        (entry,) = report["tables"]["table"]["expectations"]
        assert entry["observed"] == {"rows": len(order), "unexpected": 1}
        assert entry["examples"] == ["b"]


def test_of_many_failing_rows_some_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results(), "LISTED", 2)
    monkeypatch.setattr(whole(), "LISTED", 2)
    report = runner().run([cut(4, 8, 12)], tmp_path / "docs", examples=3)
    entries = report["tables"]["table"]["expectations"]
    unique = find(entries, "column_values_to_be_unique", "uid")
    assert unique["observed"] == {"rows": 12, "unexpected": 5}
    assert unique["examples"] == ["b", "d"]
    regex = find(entries, "column_values_to_match_regex", "text")
    assert regex["observed"] == {"rows": 12, "unexpected": 4}  # "", z, w, xyz
    assert regex["examples"] == ["b", "g"]


def test_values_with_one_hash_are_not_one_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole(), "hash_column", lambda values: np.zeros(len(values), np.uint64))
    column, judged = whole().Repeats("uid"), []
    monkeypatch.setattr(whole(), "set_failing", lambda *args, **kwargs: judged.append(args[1:]))
    for part in cut(4, 8, 12).parts():
        column.add(part)
    column.judge(None, cut(4, 8, 12), examples=3)
    ((count, values, rows),) = judged
    assert (count, values) == (5, ["q", "q", "s", "q", "s"])
    assert rows[2] == {"uid": "s", "key": "f"}


def test_rows_are_found_by_uid() -> None:
    texts = pa.chunked_array([["a", "b"], ["a", None, "c", "b"]], pa.string())
    uids = Uids(hash_texts(texts))
    assert uids.find(pa.array(["b", "x", "c", "a", None, ""])).tolist() == [1, -1, 4, 0, 3, -1]
    assert uids.is_first.tolist() == [True, True, False, True, True, False]
    assert uids.repeat(np.array([5, 6, 0, 7, 8, 0])).tolist() == [5, 6, 5, 7, 8, 6]
    nothing = Uids(np.zeros(0, np.uint64))
    assert nothing.find(texts).tolist() == [-1] * 6
    assert look_up(np.zeros((0, 2)), np.array([-1, -1]), 4).tolist() == [[4, 4], [4, 4]]


def test_hashes_of_different_values_are_counted_once() -> None:
    share, seen = whole().UniqueShare("x"), []
    rng = np.random.default_rng(0)
    for _ in range(20):
        part = pd.DataFrame({"x": [f"{n}" for n in rng.integers(0, 500, 200)]})
        share.add(part)
        seen += part["x"].tolist()
        assert len(share.hashes) + len(share.added) <= 2 * len(set(seen)) + 200
    share.leave_out_repeated()
    assert (len(share.hashes), share.count) == (len(set(seen)), 4000)
