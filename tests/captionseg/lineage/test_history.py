"""What is read of a pair."""

from __future__ import annotations

import pyarrow as pa

from captionseg.records import PAIRS
from captionseg.storage.writing import write_table
from tests.captionseg.lineage.conftest import history, trace


def test_json_says_the_same(run, capsys):
    found = history(capsys, run.train[0]["uid"], "-k", "0")
    assert found["pair"] == {**run.train[0], "shard": "00000"}
    assert found["neighbours"] == []
    assert found["rules"]["nouns"]["concepts"][0]["score_b"] is None
    assert [(r["recipe"], r["trained"], r["seeds"]) for r in found["recipes"]] == [
        ("cocu-mil", False, [3]),
        ("frozen", False, [3]),
        ("nouns-mil", True, [3]),
    ]


def test_duplicates(run, capsys):
    same = history(capsys, run.test[0]["uid"])["duplicates"]
    assert [(row["uid"], row["by"]) for row in same] == [
        (run.train[0]["uid"], "bytes"),
        (run.train[1]["uid"], "bytes"),
    ]
    line = next(
        x for x in trace(capsys, run.test[0]["uid"])[1] if x.startswith("  ") and "same" in x
    )
    assert line.endswith('same bytes  https://example.org/cat.jpg  "a cat"')
    again = next(row for row in history(capsys, run.train[0]["uid"])["duplicates"])
    assert (again["uid"], again["status"]) == (run.train[1]["uid"], "success")
    recipes = history(capsys, run.test[0]["uid"])["recipes"]
    assert {(r["trained"], r["why"]) for r in recipes} == {(False, "of the test split")}


def test_a_refused_copy_is_a_duplicate_too(run, capsys):
    path = run.root / "data" / "pairs" / "00000.parquet"
    rows = run.train
    rows[4] |= {"reason": "duplicate_picture", "original_sha256": rows[0]["original_sha256"]}
    write_table(pa.Table.from_pylist(rows, schema=PAIRS), path)
    first = next(line for line in trace(capsys, rows[0]["uid"])[1] if "refused" in line)
    assert first.startswith(f"  {rows[4]['uid']}  same original bytes, refused: duplicate_picture")


def test_marks_of_a_pair_and_those_for_its_sake(run, capsys):
    left, stays = run.train[1]["uid"], run.train[2]["uid"]
    assert "marks: none" in trace(capsys, left)[1]
    mark = {"uid": left, "kind": "near_duplicate", "reason": f"near \x1b of {stays}", "twin": stays}
    file = run.root / "data" / "supervision" / "marks" / "marks.parquet"
    write_table(pa.Table.from_pylist([mark, mark | {"uid": "0" * 32, "twin": "1" * 32}]), file)
    assert history(capsys, left)["marks"] == [mark]
    lines = trace(capsys, left)[1]
    assert f"  left out, near_duplicate: near \\x1b of {stays}" in lines
    assert f"  stands for {left}, near_duplicate" in trace(capsys, stays)[1]
