"""Supervision on disk: all of it comes back, whichever files it lies in, and no row by itself."""

import tracemalloc

import numpy as np
import pyarrow.parquet as pq
import pytest

from captionseg.records import SUPERVISION, UserError
from captionseg.supervision.columns import COLUMNS, ROWS, Supervision
from captionseg.supervision.parquet_files import from_table, read, to_table, write
from tests.captionseg.supervision.rows import Concept, concepts_of, supervision_of

WORDS = ["dog", "grass", "car"]


def three() -> Supervision:
    full = Concept("grass", 2.025, 0.9, 1.125, 0.75, 2, 1, "cocu")
    rows = [(full, Concept("dog", rule="cocu")), (), (Concept("car", support=1, rule="cocu"),)]
    return supervision_of(
        ["a" * 32, "b" * 32, "c" * 32],
        rows,
        kept=[True, False, True],
        reasons=["", "no_concept", ""],
        vocabulary=WORDS,
    )


def same(first: Supervision, second: Supervision) -> None:
    assert (first.rule, list(first.vocabulary)) == (second.rule, list(second.vocabulary))
    for name in ROWS:
        a, b = getattr(first, name), getattr(second, name)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_a_table_holds_all_of_it():
    table = to_table(three())
    assert table.schema == SUPERVISION
    same(from_table(table, WORDS), three())
    assert str(to_table(from_table(table, WORDS))) == str(table)  # NaN is NaN there
    row = table.to_pylist()[0]
    assert (row["uid"], row["kept"], row["drop_reason"]) == ("a" * 32, True, None)
    assert [c["text"] for c in row["concepts"]] == ["grass", "dog"]
    assert (
        row["concepts"][0] | {"text": "grass", "rule": "cocu", "support": 2} == row["concepts"][0]
    )
    assert table["drop_reason"].to_pylist() == [None, "no_concept", None]


def test_concepts_are_numbers_of_the_vocabulary_that_is_given_or_else_of_the_file():
    found = from_table(to_table(three()), ["x", "car", "dog", "grass"])
    assert found.concept.tolist() == [[3, 2], [-1, -1], [1, -1]]
    alone = from_table(to_table(three()))
    assert (alone.vocabulary, alone.to_texts()) == (["grass", "dog", "car"], three().to_texts())


def test_a_shard_and_all_shards(tmp_path):
    whole = three()
    write(whole.take(slice(0, 2)), tmp_path / "00000.parquet")
    write(whole.take(slice(2, 3)), tmp_path / "00001.parquet")
    same(read(tmp_path, WORDS), whole)
    same(read(tmp_path / "00001.parquet", WORDS), whole.take(slice(2, 3)))
    assert pq.read_table(tmp_path / "00000.parquet").schema == SUPERVISION
    # several row groups, as in a large file
    pq.write_table(to_table(whole), tmp_path / "00002.parquet", row_group_size=1)
    same(read(tmp_path / "00002.parquet", WORDS), whole)


def test_part_of_a_table_is_that_part():
    same(from_table(to_table(three()).slice(1), WORDS), three().take(slice(1, 3)))


def test_no_row_and_no_concept(tmp_path):
    for uids in ((), ("u", "v")):
        blank = Supervision.blank(np.array(uids, object))
        write(blank, tmp_path / "00000.parquet")
        found = read(tmp_path, [])
        assert (len(found), found.concept.shape) == (len(uids), (len(uids), 1))
        assert found.kept.all()
        assert {name: getattr(found, name).tolist() for name in ("weight", "cluster")} == {
            "weight": [[0.0]] * len(uids),
            "cluster": [[-1]] * len(uids),
        }


def test_a_concept_of_no_vocabulary_is_one_line_with_its_picture(tmp_path):
    write(three(), tmp_path / "00000.parquet")
    line = f"'car', a concept of {'c' * 32}, is not in the vocabulary of curate; run `dvc repro"
    with pytest.raises(UserError, match=line):
        read(tmp_path, ["grass", "dog"])


def test_a_table_of_another_kind_is_one_line(tmp_path):
    pq.write_table(to_table(three()).drop_columns(["kept"]), tmp_path / "00000.parquet")
    with pytest.raises(UserError, match="it has no column kept"):
        read(tmp_path)


def test_memory_is_that_of_the_columns():
    """An object of Python's for each concept would be hundreds of bytes."""
    rng, count = np.random.default_rng(0), 5000
    words = [f"concept {i}" for i in range(100)]
    concept = rng.integers(100, size=(count, 6))
    uid = np.array([f"{i:032x}" for i in range(count)], object)
    table = to_table(Supervision.blank(uid).with_concepts(concept, rule="x", vocabulary=words))
    tracemalloc.start()
    found = from_table(table, words)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    of_columns = sum(getattr(found, name).nbytes for name in ("concept", *COLUMNS))
    of_uids = 100 * count  # text of Python's
    assert peak < 2 * of_columns + of_uids
    assert concepts_of(found.take(slice(0, 1)))[0][0].text == words[concept[0, 0]]
