"""Rows that are chosen, and what is refused; the measures themselves are compared with those of the
run in tests/stages/test_dag.py.
"""

import pytest

from captionseg.records import UserError
from captionseg.reporting.held_out_rules import (
    format_measures,
    list_rules,
    parse_rows,
    read_vocabulary,
    split_place,
)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (":", [0, 1, 2, 3]),
        (" :2 ", [0, 1]),
        ("2:", [2, 3]),
        ("1:3", [1, 2]),
        ("3:1", []),
        ("9:", []),
    ],
)
def test_rows_are_a_range(text, rows):
    assert list(range(4))[parse_rows(text)] == rows


@pytest.mark.parametrize("text", ["", "2", "-1:", "1:2:3", "a:b", "1.5:"])
def test_other_rows_are_refused(text):
    with pytest.raises(UserError, match=r"--rows: '.*' is no range of rows such as :2000"):
        parse_rows(text)


def test_places_are_sorted_by_file_and_row():
    places = ["b.jpg", "a.csv:10", "a.csv:9", "a.jpg", "0.tar:000000010", "http://x:80/a.jpg"]
    assert sorted(places, key=split_place) == [
        "0.tar:000000010",
        "a.csv:9",
        "a.csv:10",
        "a.jpg",
        "b.jpg",
        "http://x:80/a.jpg",
    ]


def test_a_folder_without_rules_is_refused(tmp_path):
    (tmp_path / "vocabulary").mkdir()
    (tmp_path / "marks").mkdir()
    with pytest.raises(UserError, match="no rule's supervision; run `dvc repro curate` first"):
        list_rules(tmp_path)
    (tmp_path / "cocu").mkdir()
    assert list_rules(tmp_path) == ["cocu"]
    with pytest.raises(UserError, match=r"concepts\.parquet"):
        read_vocabulary(tmp_path / "vocabulary")


def test_the_table_has_a_line_a_rule():
    names = ["precision_at_1", "precision_at_4", "recall_at_4", "average_precision"]
    names += ["sampled_precision", "sampled_recall"]
    values = {f"{name}{end}": 0.25 for name in names for end in ("", "_low", "_high")}
    first, header, *lines = format_measures({"cocu": {"pictures": 7.0, **values}})
    assert first == "7 pictures with held-out captions; 95 % intervals"
    assert header.split() == ["rule", *names]
    assert [line.split()[:3] for line in lines] == [["cocu", "0.250", "(0.250-0.250)"]]
