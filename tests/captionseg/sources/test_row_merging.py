"""Rows of one picture, wherever they stand."""

from pathlib import Path

import pandas.util
import pyarrow as pa
import pytest

from captionseg.sources import row_merging
from captionseg.sources.listing_rows import make_batch
from tests.captionseg.sources.tables.tabulating import put, rows


def test_rows_of_a_picture_stand_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of first rows, whatever the sizes of batches."""

    def batches(size: int):
        listed = [
            {"picture": f"{n % 7}.jpg", "captions": [f"said {n}"], "source_row": str(n)}
            for n in range(50)
        ]
        return [make_batch(listed[at : at + size]) for at in range(0, 50, size)]

    found = []
    for chunk, groups, size in ((4096, 4096, 50), (3, 2, 7), (8, 1, 1), (1, 3, 50)):
        monkeypatch.setattr(row_merging, "CHUNK", chunk)
        monkeypatch.setattr(row_merging, "GROUPS", groups)
        found.append(pa.Table.from_batches(row_merging.merge_pictures(batches(size))).to_pylist())
    assert [(row["picture"], row["source_row"]) for row in found[0]] == [
        (f"{n}.jpg", str(n)) for n in range(7)
    ]
    assert found[0][1]["captions"] == [f"said {n}" for n in range(1, 50, 7)]
    assert found[0] == found[1] == found[2] == found[3]


def test_hashes_that_fall_together_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    hash_array = pandas.util.hash_array
    monkeypatch.setattr(pandas.util, "hash_array", lambda *a, **k: hash_array(*a, **k) % 2)
    batch = make_batch([{"picture": str(n % 9), "captions": [str(n)]} for n in range(18)])
    (merged,) = row_merging.merge_pictures([batch])
    assert {row["picture"]: row["captions"] for row in merged.to_pylist()} == {
        str(n): [str(n), str(n + 9)] for n in range(9)
    }


def test_refused_rows_of_a_picture_are_one(tmp_path: Path) -> None:
    text = "image,caption\n1.jpg,\n1.jpg,good\n1.jpg,\n2.jpg,\n2.jpg,\n1.jpg,more\n"
    found = rows(put(tmp_path, "m.csv", text))
    assert [(row["picture"], row["captions"] or [], row["error"]) for row in found] == [
        ("1.jpg", ["good", "more"], None),
        ("1.jpg", [], "caption is empty (2 rows of the picture)"),
        ("2.jpg", [], "caption is empty (2 rows of the picture)"),
    ]


def test_no_rows_at_all(tmp_path: Path) -> None:
    assert rows(put(tmp_path, "m.csv", "image,caption\n")) == []
