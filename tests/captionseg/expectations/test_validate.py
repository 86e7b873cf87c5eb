"""Good tables pass; each poison fails the expectation that is there for it, and names the row."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from captionseg.expectations.params import ValidateParams
from captionseg.records import UserError
from captionseg.segment_text.rle import encode
from tests.imported_late import import_late

validation = import_late("captionseg.expectations.validate")
Run = Any  # of conftest.py
NAN, INFINITE = float("nan"), float("inf")


def check(run: Run, **params: float) -> dict[str, float]:
    out = run.folder.parent
    return validation().validate(
        run.folders,
        ValidateParams(**params),
        coverage_params=run.asked,
        docs=out / "validation",
        report=out / "validation.json",
        failed=out / "failed",
    )


def report_of(run: Run) -> dict[str, Any]:
    return json.loads((run.folder.parent / "validation.json").read_text())


def failures(run: Run) -> dict[tuple[str, str, str], list[str]]:
    return {
        (name, e["expectation"].removeprefix("expect_column_"), e["column"]): e["examples"]
        for name, table in report_of(run)["tables"].items()
        for e in table["expectations"]
        if not e["success"]
    }


def test_good_tables_pass_and_leave_docs_and_a_report_that_are_the_same_each_time(run: Run) -> None:
    def everything() -> dict[str, bytes]:
        files = [p for p in out.glob("validation*/**/*") if p.is_file()]
        return {str(p): p.read_bytes() for p in [*files, out / "validation.json"]}

    out = run.folder.parent
    # a source quarantines a picture whose caption is missing: that is no poison
    next(row for row in run.pairs if row["status"] != "success")["caption"] = ""
    run.supervision["captions"] = [{**row, "concepts": []} for row in run.supervision["nouns"]]
    assert check(run.write())["expectations"] > 50
    report, first = report_of(run), everything()
    assert report["success"]
    assert report["statistics"]["exceptions"] == 0
    assert {"schemas", "pairs", "supervision cocu", "concepts nouns", "texts of segments"} < set(
        report["tables"]
    )
    assert (out / "validation" / "index.html").exists()
    assert len(list((out / "validation").rglob("*.html"))) > len(report["tables"])
    assert not (out / "failed").exists()
    check(run)
    assert everything() == first
    lines = [
        table["expectations"] for name, table in report["tables"].items() if name == "rows by shard"
    ]
    assert [entry["column"] for entry in lines[0]] == ["there", "rows, expected"]


def pairs(row: int, **change: object) -> Callable[[Run], object]:
    return lambda run: run.pairs[row].update(change)


def concept(row: int, rule: str = "cocu", **change: object) -> Callable[[Run], object]:
    return lambda run: run.supervision[rule][row]["concepts"][0].update(change)


def segment(row: int, **change: object) -> Callable[[Run], object]:
    return lambda run: run.segments[row].update(change)


def text(row: int, **change: object) -> Callable[[Run], object]:
    return lambda run: run.segments[row]["texts"][0].update(change)


def twice(rows: list[dict], **change: object) -> None:
    rows.append({**rows[0], **change})


BETWEEN, IN_SET, NOT_NULL = "values_to_be_between", "values_to_be_in_set", "values_to_not_be_null"
POISON = {  # what is done to which row, and what must notice
    "an image twice": (
        0,
        lambda r: twice(r.pairs, key="x"),
        ("pairs", "values_to_be_unique", "uid"),
    ),
    "a strange uid": (
        1,
        lambda r: r.supervision["nouns"][1].update(uid="?"),
        ("supervision nouns", IN_SET, "in_pairs"),
    ),
    "a strange status": (2, pairs(2, status="lost"), ("pairs", IN_SET, "status")),
    "an empty caption": (
        3,
        pairs(3, caption=""),
        ("pairs", "value_lengths_to_be_between", "caption"),
    ),
    "a success without size": (4, pairs(4, width=None), ("pairs", IN_SET, "complete")),
    "a success with an error": (
        5,
        pairs(5, error_message="404"),
        ("pairs", IN_SET, "reason_given"),
    ),
    "a score of NaN": (6, concept(6, score=NAN), ("concepts cocu", NOT_NULL, "score")),
    "an infinite score": (7, concept(7, score_b=INFINITE), ("concepts cocu", BETWEEN, "score_b")),
    "a noun with a score": (
        8,
        concept(8, "nouns", score=0.5),
        ("concepts nouns", BETWEEN, "score"),
    ),
    "a weight of zero": (9, concept(9, weight=0.0), ("concepts cocu", BETWEEN, "weight")),
    "a cluster below -1": (10, concept(10, cluster=-2), ("concepts cocu", BETWEEN, "cluster")),
    "another rule's concept": (
        11,
        lambda r: r.supervision["cocu"][11]["concepts"][0].update(rule="nouns"),
        ("concepts cocu", IN_SET, "rule"),
    ),
    "a concept twice": (
        12,
        lambda r: twice(r.supervision["cocu"][12]["concepts"]),
        ("supervision cocu", IN_SET, "texts_unique"),
    ),
    "dropped for no reason": (
        13,
        lambda r: r.supervision["cocu"][13].update(kept=False),
        ("supervision cocu", IN_SET, "reason_given"),
    ),
    # uid ? is kept in its place
    "another picture's segment": (1, lambda r: None, ("segments", IN_SET, "of_kept")),
    "a concept of no vocabulary": (
        27,
        concept(27, text="zebra"),
        ("concepts cocu", IN_SET, "in_vocabulary"),
    ),
    "no list of concepts": (
        28,
        lambda r: r.supervision["cocu"][28].update(concepts=None),
        ("supervision cocu", IN_SET, "concepts_given"),
    ),
    "a wrong area": (
        14,
        segment(14, area=23),
        ("segments", "pair_values_to_be_equal", "area, rle_area"),
    ),
    "a box outside": (15, segment(15, bbox=[18.0, 2, 6, 4]), ("segments", IN_SET, "bbox_inside")),
    "another size": (16, pairs(16, width=21), ("segments", IN_SET, "size_of_pair")),
    "a stability of NaN": (17, segment(17, stability=NAN), ("segments", NOT_NULL, "stability")),
    "a stability above 1": (18, segment(18, stability=1.5), ("segments", BETWEEN, "stability")),
    "no texts": (19, segment(19, texts=[]), ("segments", BETWEEN, "texts")),
    "an empty text": (
        20,
        text(20, text=""),
        ("texts of segments", "value_lengths_to_be_between", "text"),
    ),
    "a text of no box": (22, text(22, count=0), ("texts of segments", BETWEEN, "count")),
    "a text of no such caption": (
        23,
        text(23, caption=-2),
        ("texts of segments", BETWEEN, "caption"),
    ),
    "a phrase of no caption": (
        24,
        text(24, caption=-1),
        ("texts of segments", IN_SET, "of_caption"),
    ),
    "a concept of a caption": (
        25,
        text(25, kind="concept"),
        ("texts of segments", IN_SET, "of_caption"),
    ),
    "a text that was not counted": (
        26,
        text(26, count=None),
        ("texts of segments", NOT_NULL, "count"),
    ),
    "not the whole": (21, segment(21, full_image=True), ("segments", IN_SET, "full_is_full")),
}


@pytest.fixture(scope="module")
def poisoned(module_run: Run) -> Run:
    for _, spoil, _ in POISON.values():
        spoil(module_run)
    with pytest.raises(UserError):
        check(module_run.write())
    return module_run


@pytest.mark.parametrize("poison", POISON)
def test_each_poison_fails_its_expectation_and_names_its_row(poisoned: Run, poison: str) -> None:
    row, _, noticed = POISON[poison]
    uid = "?" if poison == "a strange uid" else poisoned.uids[row]
    assert uid in failures(poisoned)[noticed]


def test_poison_fails_nothing_else(poisoned: Run) -> None:
    also = {("segments", BETWEEN, "score"), ("segments", "values_to_be_unique", "segment_id")}
    assert not also & set(failures(poisoned))
    every = "pairs in all tables"  # what is no pair's, and the pair that it took the place of
    more = {
        (every, IN_SET, name)
        for name in ("pair", "indexed", "supervision nouns", "supervision cocu")
    }
    more |= {("supervision cocu", IN_SET, "in_pairs"), ("segments", IN_SET, "size_of_pair")}
    # of pairs that have segments
    more |= {("rows by shard", "pair_values_to_be_equal", "rows, expected")}
    assert set(failures(poisoned)) - {noticed for _, _, noticed in POISON.values()} <= more


def test_the_error_is_one_line_with_name_column_and_example_and_says_where_to_read(
    run: Run,
) -> None:
    run.segments[6]["area"] = 23
    with pytest.raises(UserError) as error:
        check(run.write())
    failed = run.folder.parent / "failed"
    assert str(error.value) == (
        "validate: segments: expect_column_pair_values_to_be_equal of area, rle_area failed in 1 "
        f"of 39 rows, such as {run.uids[6]}; see {failed}/validation/index.html and "
        f"{failed}/validation.json"
    )
    assert (failed / "validation" / "index.html").exists()
    assert not json.loads((failed / "validation.json").read_text())["success"]


@pytest.mark.usefixtures("changes_alone")
def test_shares_are_thresholds(run: Run) -> None:
    for row in run.supervision["nouns"][:10]:  # 29 of 39 are left: .74
        row["concepts"] = []
    run.segments = run.segments[:30]  # of 39: .77
    check(run.write(), min_with_concepts=0.7, min_with_segments=0.7)
    with pytest.raises(UserError, match="and 2 more"):
        check(run, min_with_concepts=0.8, min_with_segments=0.8, min_success=0.99)
    assert set(failures(run)) == {
        ("pairs", IN_SET, "status"),
        ("supervision nouns", BETWEEN, "concepts_if_kept"),
        ("segments per image", BETWEEN, "segments"),
    }


@pytest.mark.usefixtures("changes_alone")
def test_a_rule_that_gives_no_concept_must_give_none(run: Run) -> None:
    run.supervision["captions"] = run.supervision["nouns"]
    with pytest.raises(UserError, match=r"supervision captions: .* of concepts_if_kept"):
        check(run.write())


MEDIAN, MEAN, PROPORTION = (
    "median_to_be_between",
    "mean_to_be_between",
    "proportion_of_unique_values_to_be_between",
)
SHARES = {  # what passes, what does not, and who notices
    "boxes of no phrase: 20 of 80": (
        {"max_unassigned": 0.25},
        {"max_unassigned": 0.24},
        ("making of segments", BETWEEN, "unassigned"),
    ),
    "captions in pieces: 13 of 78": (
        {"max_cut": 0.17},
        {"max_cut": 0.16},
        ("making of segments", BETWEEN, "cut"),
    ),
    "images without a generated caption: 2 of 40": (
        {"max_uncaptioned": 0.05},
        {"max_uncaptioned": 0.04},
        ("making of segments", BETWEEN, "uncaptioned"),
    ),
    "too few segments an image: 1": (
        {"min_median_segments": 1, "max_median_segments": 1},
        {"min_median_segments": 1.5},
        ("segments per image", MEDIAN, "segments"),
    ),
    "texts of a segment: 2": ({"max_texts": 2}, {"max_texts": 1.9}, ("segments", MEAN, "texts")),
    "whole pictures: 3 of 39": (
        {"max_full_image": 0.08},
        {"max_full_image": 0.07},
        ("segments", MEAN, "full"),
    ),
    "different texts: 2 of 78": (
        {"min_unique_texts": 0.025},
        {"min_unique_texts": 0.026},
        ("texts of segments", PROPORTION, "normalised"),
    ),
}


@pytest.fixture(scope="module")
def shared(module_run_of_shares: Run) -> Run:
    run = module_run_of_shares
    run.counts["captions_cut"] = 13
    mask = np.ones((1, 10, 20), bool)
    (rle,), _, (box,) = encode(mask)
    for row in run.segments[:3]:
        row.update(full_image=True, area=200, rle=rle, bbox=box.tolist())
    for row in run.segments[::2]:
        row["texts"][0]["text"] = " A  dog."  # no other text
    return run.write()


@pytest.mark.usefixtures("changes_alone")
def test_shares_of_segments_at_their_thresholds_pass(shared: Run) -> None:
    check(shared, **{name: value for good, _, _ in SHARES.values() for name, value in good.items()})


@pytest.mark.usefixtures("changes_alone")
def test_shares_of_segments_beyond_their_thresholds_are_noticed(shared: Run) -> None:
    many = {"max_median_segments": 0.9}  # together with its minimum it would say nothing
    with pytest.raises(UserError):
        check(
            shared, **{name: value for _, bad, _ in SHARES.values() for name, value in bad.items()}
        )
    assert set(failures(shared)) == {noticed for _, _, noticed in SHARES.values()}
    with pytest.raises(UserError):
        check(shared, **many)
    assert set(failures(shared)) == {("segments per image", MEDIAN, "segments")}


@pytest.mark.usefixtures("changes_alone")
def test_segments_without_their_counts_are_noticed(run: Run) -> None:
    (run.write().folder / "segments" / "00000_stats.json").unlink()
    with pytest.raises(
        UserError, match=r"rows by shard: .* of there failed .*/00000_stats.json, pairs .0 rows"
    ):
        check(run)
    assert ("making of segments", BETWEEN, "images") in failures(run)


@pytest.mark.usefixtures("changes_alone")
def test_a_wrong_schema_is_named_and_its_table_not_read(run: Run) -> None:
    path = run.write().folder / "segments" / "00000.parquet"
    table = pq.read_table(path)
    pq.write_table(
        table.drop_columns(["stability"]).append_column("extra", pa.array([1] * len(table))), path
    )
    with pytest.raises(
        UserError, match=r"failed in 2 of \d+ rows, such as segments.stability, segments.extra;"
    ):
        check(run)
    assert not any(name.startswith("segments") for name in report_of(run)["tables"])


def test_a_stage_that_left_nothing_is_named(run: Run) -> None:
    (run.write().folder / "segments" / "00000.parquet").unlink()
    with pytest.raises(UserError, match=r"segments: no parquet files"):
        check(run)


def mark(run: Run, count: int) -> None:
    """The first pairs are marked, and no rule keeps them."""
    for number, uid in enumerate(run.uids[:count]):
        run.marks.append({"uid": uid, "kind": "leak", "reason": "leak", "twin": run.uids[-1]})
        for rows in run.supervision.values():
            rows[number] |= {"kept": False, "drop_reason": "leak"}
    run.segments = [row for row in run.segments if row["uid"] not in run.uids[:count]]


@pytest.mark.usefixtures("changes_alone")
def test_what_is_marked_does_not_count_as_lost_by_a_rule(run: Run) -> None:
    mark(run, 30)  # of 39, where min_kept is one half
    path = run.write().folder / "segments" / "00000_stats.json"
    counts = json.loads(path.read_text())
    path.write_text(json.dumps({**counts, "images": 9, "images_without_segments": 0}))
    check(run)


@pytest.mark.usefixtures("changes_alone")
def test_a_marked_row_that_a_rule_keeps_is_noticed(run: Run) -> None:
    mark(run, 3)
    run.supervision["cocu"][1] |= {"kept": True, "drop_reason": None}
    with pytest.raises(UserError):
        check(run.write())
    assert ("supervision cocu", IN_SET, "marked_dropped") in failures(run)


@pytest.mark.usefixtures("changes_alone")
def test_a_mark_that_is_lost_is_noticed(run: Run) -> None:
    mark(run, 3)
    path = run.write().folder / "supervision" / "marks" / "marks.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(UserError, match=r"marks/marks.parquet \(2 rows of 3\)"):
        check(run)
