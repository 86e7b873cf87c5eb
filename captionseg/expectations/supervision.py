"""Expectations of a supervision: its rows and their concepts."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import compute

from captionseg.expectations.known_pairs import KnownPairs, Uids, stream_shards
from captionseg.expectations.params import ValidateParams
from captionseg.expectations.quiet import expect
from captionseg.expectations.suite import Suite, expect_not_null, expect_true, explode

pc: Any = compute  # its functions are made when it is imported

RANGES: dict[str, dict[str, tuple[float, float]]] = {
    "nouns": {"score": (1.0, 1.0)},
    "caption_retrieval": {"score": (0.0, 2.0), "score_a": (0.0, 2.0)},
    "cocu": {"score": (0.0, 1e4), "score_a": (0.0, 2.0), "score_b": (0.0, 1e4)},
    "cocu_calibrated": {"score": (0.0, 1.0)},
}
"""Rule -> the ranges of its scores; all other scores are NaN.

f is below 2, whichever way it is made positive (Eq. 6). Eq. 7 divides it by a mean of f, so there
only finiteness is guaranteed.
"""

EMPTY = {"captions"}
"""Rules that give no concepts."""

FINITE = {"score": (-1e6, 1e6)}
"""Ranges of rules that are not in RANGES."""


def build_suites(
    rule: str,
    folder: Path,
    pairs: KnownPairs,
    vocabulary: Collection[str],
    params: ValidateParams,
    *,
    marked: Uids,
) -> Iterator[Suite]:
    """Yield the suites of a rule's table.

    Args:
        rule: its name.
        folder: its tables of schema SUPERVISION, in shards.
        pairs: the successful pairs.
        vocabulary: all concepts.
        params: section `validate`.
        marked: uids that no rule keeps.
    """

    def list_rows() -> Iterator[pd.DataFrame]:
        for table in stream_shards(folder, ["uid", "kept", "drop_reason", "concepts"]):
            yield to_frame(table, pairs, marked)

    def list_concepts() -> Iterator[pd.DataFrame]:
        for table in stream_shards(folder, ["uid", "concepts"]):
            concepts = explode(table, "concepts", keep=["uid"])
            concepts["in_vocabulary"] = concepts["text"].isin(list(vocabulary))
            yield concepts

    yield Suite(f"supervision {rule}", list_rows, expect_rows(rule, params, marks=len(marked) > 0))
    if any(len(part) for part in list_concepts()):
        yield Suite(f"concepts {rule}", list_concepts, expect_concepts(rule, params))


def to_frame(table: pa.Table, pairs: KnownPairs, marked: Uids) -> pd.DataFrame:
    """A row for each pair of a table with a column `shard`.

    concepts: how many. concepts_if_kept: the same, null where the row is not kept. concepts_given:
    there is a list, be it empty. texts_unique: no concept twice. reason_given: exactly the rows
    that are not kept have a reason. in_pairs: the uid is a successful training pair's.
    in_its_shard: of the same shard. Where any row is marked, kept_unless_marked: null where the row
    is, else kept; and marked_dropped: a marked row is not kept.
    """
    lists = table["concepts"].combine_chunks()
    texts = pd.DataFrame(
        {"row": lists.value_parent_indices(), "text": pc.struct_field(lists.flatten(), "text")}
    )
    rows = table.select(["uid", "kept", "drop_reason"]).to_pandas()
    rows["concepts"] = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    rows["concepts_if_kept"] = rows["concepts"].where(rows["kept"].fillna(False).astype(bool))
    rows["texts_unique"] = ~rows.index.isin(texts["row"][texts.duplicated()])
    rows["reason_given"] = rows["kept"].fillna(False).astype(bool) == rows["drop_reason"].isna()
    rows["concepts_given"] = pc.is_valid(table["concepts"]).to_numpy()
    place = pairs.uids.find(table["uid"])
    known = place >= 0
    known[known] = pairs.is_of("train", place[known])
    shards = pc.index_in(table["shard"], value_set=pa.array(pairs.rows, pa.string()))
    rows["in_pairs"] = known
    # rows that are no pairs have no shard to be compared with
    rows["in_its_shard"] = ~known | (
        pc.fill_null(shards, -1).to_numpy() == pairs.find_shards(place)
    )
    if len(marked):
        is_marked = pd.Series(marked.find(table["uid"]) >= 0)
        rows["kept_unless_marked"] = rows["kept"].where(~is_marked)
        rows["marked_dropped"] = ~(is_marked & rows["kept"].fillna(False).astype(bool))
    return rows


def expect_rows(rule: str, params: ValidateParams, *, marks: bool = False) -> list[Any]:
    """Expectations of `to_frame`; `marks`: whether any row is marked."""
    kept = "kept_unless_marked" if marks else "kept"
    low, high = (None, 0) if rule in EMPTY else (1, None)
    return [
        *expect_not_null("uid", "kept"),
        expect.ExpectColumnValuesToBeUnique(column="uid"),
        *expect_true("in_pairs", "in_its_shard", "reason_given", "concepts_given", "texts_unique"),
        *(expect_true("marked_dropped") if marks else ()),
        expect.ExpectColumnValuesToBeInSet(column=kept, value_set=[True], mostly=params.min_kept),
        expect.ExpectColumnValuesToBeBetween(
            column="concepts_if_kept",
            min_value=low,
            max_value=high,
            mostly=params.min_with_concepts,
        ),
    ]


def expect_concepts(rule: str, params: ValidateParams) -> list[Any]:
    """Return the expectations of a rule's concepts, one row each."""
    ranges = RANGES.get(rule, FINITE)
    return [
        *expect_not_null("text", "weight", "support", "cluster", "rule", *ranges),
        expect.ExpectColumnValueLengthsToBeBetween(column="text", min_value=1),
        *expect_true("in_vocabulary"),
        *(
            expect.ExpectColumnValuesToBeBetween(column=score, min_value=low, max_value=high)
            for score, (low, high) in ranges.items()
        ),
        expect.ExpectColumnValuesToBeBetween(
            column="weight", min_value=0, strict_min=True, max_value=1e6
        ),
        expect.ExpectColumnValuesToBeBetween(column="support", min_value=0),
        expect.ExpectColumnValuesToBeBetween(
            column="cluster", min_value=-1, max_value=params.max_clusters - 1
        ),
        expect.ExpectColumnValuesToBeInSet(column="rule", value_set=[rule]),
    ]
