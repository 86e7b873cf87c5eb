"""The page of the data: what is counted, and that it shows any source."""

import numpy as np
import pyarrow as pa
import pytest

from captionseg.records import PAIRS
from captionseg.reporting.data.bars import list_bars, make_bars
from captionseg.reporting.data.captions import count_captions_per_picture, describe_captions
from captionseg.reporting.data.concepts import count_concepts, count_drops
from captionseg.reporting.data.pictures import (
    count_duplicates,
    count_outcomes,
    count_splits,
    describe_sizes,
    read_rows,
    select_pictures,
)
from captionseg.storage.writing import write_table
from captionseg.supervision import files
from tests.captionseg.lineage.conftest import list_rows, make_row, write_shard
from tests.captionseg.supervision.rows import Concept, supervision_of


def table(*rows: dict) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=PAIRS)


@pytest.fixture
def rows(tmp_path) -> pa.Table:
    train, test = list_rows()
    write_shard(tmp_path, "00000", train)
    write_shard(tmp_path, "00001", test)
    return read_rows(tmp_path)


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


@pytest.mark.parametrize("values", [[3], [1, 1, 2], [0, 500], list(range(100)), [5] * 99 + [4000]])
def test_every_value_is_in_a_bar(values):
    bars = list_bars(np.array(values))
    assert sum(bar["count"] for bar in bars) == len(values)
    assert 1 <= len(bars) <= 16
    assert max(bar["size"] for bar in bars) == 100
    assert all(0 <= bar["size"] <= 100 for bar in bars)


def test_no_bar_of_nothing():
    assert make_bars(["a"], [0]) == [{"name": "a", "count": 0, "size": 0.0}]


def test_concepts_and_what_rules_leave_out(tmp_path):
    uid = np.array(["0" * 32, "1" * 32], object)
    found = supervision_of(uid, ((Concept("cat"), Concept("dog")), (Concept("cat"),)))
    files.write(found, tmp_path / "nouns" / "00000.parquet")
    marked = files.to_table(found).to_pylist()
    marked[1] |= {"kept": False, "drop_reason": f"duplicate of {'0' * 32}"}
    marked_table = pa.Table.from_pylist(marked, schema=files.to_table(found).schema)
    write_table(marked_table, tmp_path / "cocu" / "00000.parquet")
    concepts = count_concepts(tmp_path, ["nouns", "cocu"], 1)
    assert concepts["top"] == [{"name": "cat", "count": 2, "size": 100.0, "counts": [2, 2]}]
    assert concepts["tail"][-1]["counts"] == [2, 2]
    assert [(row["kept"], row["reasons"]) for row in count_drops(tmp_path, ["nouns", "cocu"])] == [
        (2, []),
        (1, [("duplicate of …", 1)]),
    ]
    assert count_concepts(tmp_path, [], 3) == {}
