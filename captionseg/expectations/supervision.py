"""Expectations of a supervision: its rows and their concepts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import compute

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
    read: Callable[[Sequence[str]], pa.Table],
    home: pa.Table,
    vocabulary: Collection[str],
    params: ValidateParams,
    *,
    marked: Collection[str] = (),
) -> Iterator[Suite]:
    """Yield the suites of a rule's table; each is read when it is its turn.

    Args:
        rule: its name.
        read: reads columns of its table of schema SUPERVISION, and a column `shard`.
        home: uid and shard of the successful training pairs.
        vocabulary: all concepts.
        params: section `validate`.
        marked: uids that no rule keeps.
    """
    yield Suite(
        f"supervision {rule}",
        to_frame(read(["uid", "kept", "drop_reason", "concepts"]), home, marked),
        expect_rows(rule, params, marks=bool(marked)),
    )
    concepts = explode(read(["uid", "concepts"]), "concepts", keep=["uid"])
    concepts["in_vocabulary"] = concepts["text"].isin(list(vocabulary))
    if len(concepts):
        yield Suite(f"concepts {rule}", concepts, expect_concepts(rule, params))


def to_frame(table: pa.Table, home: pa.Table, marked: Collection[str] = ()) -> pd.DataFrame:
    """A row for each pair.

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
    place = pc.index_in(table["uid"], value_set=home["uid"].combine_chunks())
    shard = home["shard"].combine_chunks().take(place.combine_chunks())
    rows["in_pairs"] = pc.is_valid(place).to_numpy()
    # of rows that are no pairs there is no shard, so the comparison is null
    same = pc.equal(table["shard"], pa.chunked_array([shard]))
    rows["in_its_shard"] = pc.fill_null(same, True).to_numpy()
    if marked:
        chosen = pc.is_in(table["uid"], value_set=pa.array(list(marked), pa.string()))
        is_marked = pd.Series(chosen.to_numpy())
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
