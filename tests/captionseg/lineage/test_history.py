"""What is read of a pair."""

from __future__ import annotations

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
    recipes = history(capsys, run.test[0]["uid"])["recipes"]
    assert {(r["trained"], r["why"]) for r in recipes} == {(False, "of the test split")}
