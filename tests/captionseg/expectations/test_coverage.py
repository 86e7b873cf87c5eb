"""Rows that are lost, doubled or moved between stages: of many shards and rules, all at once, each
found and named.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from captionseg.expectations import known_pairs
from captionseg.expectations.params import ValidateParams
from captionseg.records import UserError
from captionseg.storage.packed import write_packed
from tests.imported_late import import_late

validation = import_late("captionseg.expectations.validate")
Run = Any  # of conftest.py
EQUAL, IN_SET = "pair_values_to_be_equal", "values_to_be_in_set"
SHARD = 10


@pytest.fixture(scope="module")
def whole(module_run: Run) -> Run:
    """Three shards of training pairs and one of test pairs, three rules."""
    run, run.shard = module_run, SHARD
    for row in run.pairs[3 * SHARD :]:
        row["split"] = "test"
    run.supervision["cocu"][3] |= {"kept": False, "drop_reason": "no_concept", "concepts": []}
    run.supervision["caption_retrieval"] = [
        {**row, "concepts": [{**c, "rule": "caption_retrieval"} for c in row["concepts"]]}
        for row in run.supervision["nouns"]
    ]
    for rows in (*run.supervision.values(), run.segments):
        del rows[3 * SHARD :]
    return run.write()


def test_what_is_whole_passes(whole: Run) -> None:
    for suite in validation().build_all_suites(whole.folders, ValidateParams(), whole.asked):
        frame = suite.read()
        truths = [
            name
            for name in frame
            if frame[name].dtype == bool and name not in ("kept", "full_image")
        ]
        assert frame[truths].all(axis=None), suite.name
        for one, other in (
            ("rows", "expected"),
            ("pairs", "tar"),
            ("pairs", "index"),
            ("kept", "kept_measured"),
            ("concepts", "concepts_measured"),
        ):
            if {one, other} <= set(frame):
                assert (frame[one] == frame[other]).all(), suite.name


def read_parts(run: Run) -> dict[str, list[pd.DataFrame]]:
    suites = validation().build_all_suites(run.folders, ValidateParams(), run.asked)
    return {suite.name: list(suite.parts()) for suite in suites}


def check_parts(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables that are read a shard at a time are those that are read at once."""
    at_once = read_parts(run)
    monkeypatch.setattr(known_pairs, "ROWS", 1)
    in_parts = read_parts(run)
    assert list(in_parts) == list(at_once)
    for name, parts in in_parts.items():
        joined, whole = (pd.concat(each, ignore_index=True) for each in (parts, at_once[name]))
        pd.testing.assert_frame_equal(joined, whole, check_dtype=False)
    assert [len(part) for part in in_parts["pairs"]] == [SHARD] * 4
    assert len(in_parts["texts of segments"]) > 1


def test_parts_make_the_whole(whole: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    check_parts(whole, monkeypatch)


def changed(path: Path, change: Any) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def without(*rows: int) -> Any:
    return lambda table: table.take([i for i in range(len(table)) if i not in rows])


def with_column(name: str, change: Any) -> Any:
    def apply(table: pa.Table) -> pa.Table:
        at, field = table.schema.names.index(name), table.schema.field(name)
        return table.set_column(at, field, pa.array(change(table[name].to_pylist()), field.type))

    return apply


def nothing(values: list) -> list:
    return [None] * len(values)


def shard(run: Run, *where: str) -> Path:
    return run.folder.joinpath(*where)


def swapped(one: Path, other: Path) -> None:
    """The first rows of two shards change places."""
    tables = [pq.read_table(path) for path in (one, other)]
    for path, mine, theirs in ((one, *tables), (other, *tables[::-1])):
        pq.write_table(pa.concat_tables([theirs.slice(0, 1), mine.slice(1)]), path)


RETRIEVED = ("supervision", "caption_retrieval")
LOSSES = {  # what is done, and what must notice: suite, expectation, column, and an example
    "three rows of a rule": (
        lambda r: changed(shard(r, "supervision", "nouns", "00000.parquet"), without(4, 5, 6)),
        ("rows by shard", EQUAL, "rows, expected"),
        "supervision/nouns/00000.parquet (7 rows of 10)",
    ),
    "and which": (lambda r: None, ("pairs in all tables", IN_SET, "supervision nouns"), 5),
    "a shard of a rule": (
        lambda r: shard(r, "supervision", "cocu", "00001.parquet").unlink(),
        ("rows by shard", IN_SET, "there"),
        "supervision/cocu/00001.parquet (0 rows of 10)",
    ),
    "all rows of a shard": (
        lambda r: changed(
            shard(r, "supervision", "cocu", "00002.parquet"), lambda t: t.slice(0, 0)
        ),
        ("rows by shard", EQUAL, "rows, expected"),
        "supervision/cocu/00002.parquet (0 rows of 10)",
    ),
    "all lists of a shard": (
        lambda r: changed(
            shard(r, "supervision", "cocu", "00000.parquet"), with_column("concepts", nothing)
        ),
        ("supervision cocu", IN_SET, "concepts_given"),
        0,
    ),
    "the concepts of two rows": (
        lambda r: changed(
            shard(r, *RETRIEVED, "00000.parquet"),
            with_column("concepts", lambda v: [[], [], *v[2:]]),
        ),
        ("rules of curation", EQUAL, "concepts, concepts_measured"),
        "caption_retrieval",
    ),
    "rows that are no longer kept": (
        lambda r: changed(
            shard(r, *RETRIEVED, "00000.parquet"), with_column("kept", lambda v: [False, *v[1:]])
        ),
        ("rules of curation", EQUAL, "kept, kept_measured"),
        "caption_retrieval",
    ),
    "a pair in another's place": (
        lambda r: changed(
            shard(r, *RETRIEVED, "00002.parquet"), lambda t: t.take([0, 1, 2, 3, 3, *range(5, 10)])
        ),
        ("pairs in all tables", IN_SET, "supervision caption_retrieval"),
        24,
    ),
    "rows in each other's shard": (
        lambda r: swapped(
            shard(r, *RETRIEVED, "00001.parquet"), shard(r, *RETRIEVED, "00002.parquet")
        ),
        ("supervision caption_retrieval", IN_SET, "in_its_shard"),
        10,
    ),
    "a whole rule": (lambda r: None, ("rules of curation", IN_SET, "there"), "captions"),
    "a shard of segments": (
        lambda r: [path.unlink() for path in shard(r, "segments").glob("00001*")],
        ("rows by shard", IN_SET, "there"),
        "segments/00001.parquet (0 rows of -1)",
    ),
    "three segments": (
        lambda r: changed(shard(r, "segments", "00002.parquet"), without(0, 1, 2)),
        ("rows by shard", EQUAL, "rows, expected"),
        "segments/00002.parquet (7 rows of 10)",
    ),
    "a text of a segment": (
        lambda r: changed(
            shard(r, "segments", "00000.parquet"),
            with_column("texts", lambda v: [v[0][:1], *v[1:]]),
        ),
        ("rows by shard", EQUAL, "rows, expected"),
        "segments/00000.parquet, texts (19 rows of 20)",
    ),
    "a test shard called train": (
        lambda r: changed(
            shard(r, "pairs", "00003.parquet"), with_column("split", lambda v: ["train"] * len(v))
        ),
        ("splits by shard", EQUAL, "pairs, tar"),
        "00003",
    ),
    "which the index has not": (
        lambda r: None,
        ("splits by shard", EQUAL, "pairs, index"),
        "00003",
    ),
    "regions of a shard": (
        lambda r: shard(r, "regions", "labels", "labels_00001.arrow").unlink(),
        ("rows by shard", IN_SET, "there"),
        "labels/labels_00001.arrow (0 rows of 10)",
    ),
    "features of regions of a shard": (
        lambda r: shard(r, "features", "regions", "regions_00001.npy").unlink(),
        ("rows by shard", IN_SET, "there"),
        "regions/regions_00001.npy (0 rows of 20)",
    ),
    "a region's features": (
        lambda r: np.save(shard(r, "features", "regions", "regions_00002.npy"), np.zeros((19, 2))),
        ("rows by shard", EQUAL, "rows, expected"),
        "regions/regions_00002.npy (19 rows of 20)",
    ),
    "a descriptor": (
        lambda r: write_packed(
            np.zeros((9, 2)), shard(r, "features", "descriptor", "descriptor_00000.arrow")
        ),
        ("rows by shard", EQUAL, "rows, expected"),
        "descriptor/descriptor_00000.arrow (9 rows of 10)",
    ),
    "features of two pictures": (
        lambda r: np.save(shard(r, "features", "dense", "dense_00000.npy"), np.zeros((8, 2))),
        ("rows by shard", EQUAL, "rows, expected"),
        "dense/dense_00000.npy (8 rows of 10)",
    ),
    "features that are half there": (
        lambda r: shard(r, "features", "pooled", "pooled_00002.npy").write_bytes(b"\x93NUMPY"),
        ("rows by shard", EQUAL, "rows, expected"),
        "pooled/pooled_00002.npy (-1 rows of 10)",
    ),
    "features of no shard": (
        lambda r: np.save(shard(r, "features", "dense", "dense_00009.npy"), np.zeros((8, 2))),
        ("rows by shard", EQUAL, "rows, expected"),
        "dense/dense_00009.npy, of no shard (8 rows of 0)",
    ),
    "a row of the index": (
        lambda r: changed(shard(r, "index", "ids.parquet"), without(25)),
        ("pairs in all tables", IN_SET, "indexed"),
        25,
    ),
    "a shard of the truth": (
        lambda r: shard(r, "truth", "00002.parquet").unlink(),
        ("rows by shard", IN_SET, "there"),
        "truth/00002.parquet",
    ),
    "a tar": (
        lambda r: shard(r, "pairs", "00001.tar").unlink(),
        ("rows by shard", IN_SET, "there"),
        "pairs/00001.tar",
    ),
}


@pytest.fixture(scope="module")
def found(whole: Run) -> dict[tuple[str, str, str], list[str]]:
    """What was noticed after all losses, in one run of Great Expectations."""
    for lose, _, _ in LOSSES.values():
        lose(whole)
    whole.supervision["captions"] = []  # asked for, and not there
    out = whole.folder.parent
    with pytest.raises(UserError, match="validate: "):
        validation().validate(
            whole.folders,
            ValidateParams(examples=50),
            coverage_params=whole.asked,
            docs=out / "docs",
            report=out / "report.json",
            failed=out / "failed",
        )
    tables = json.loads((out / "report.json").read_text())["tables"]
    return {
        (name, e["expectation"].removeprefix("expect_column_"), e["column"]): e["examples"]
        for name, table in tables.items()
        for e in table["expectations"]
        if not e["success"]
    }


@pytest.mark.parametrize("loss", LOSSES)
def test_each_loss_is_noticed_and_named(whole: Run, found: dict, loss: str) -> None:
    _, noticed, example = LOSSES[loss]
    assert (whole.uids[example] if isinstance(example, int) else example) in found[noticed]


def test_the_docs_say_which_shard_and_how_many_rows(whole: Run, found: dict) -> None:
    pages = "".join(
        path.read_text() for path in (whole.folder.parent / "failed" / "docs").rglob("*.html")
    )
    assert "supervision/nouns/00000.parquet (7 rows of 10)" in pages


@pytest.mark.usefixtures("found")
def test_parts_make_the_whole_of_what_is_lost(whole: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    check_parts(whole, monkeypatch)
