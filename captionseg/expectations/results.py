"""Joins what Great Expectations found in the parts of a table, as if it had seen the whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from typing import Any

from captionseg.expectations.quiet import count_successes, format_rows

LISTED = 1000
"""Failing rows of an expectation that are kept of a table in parts."""

FINGERPRINT = "pandas_data_fingerprint"
"""Where Great Expectations notes a hash of what it has read."""

ROW_BY_ROW = {
    "expect_column_values_to_not_be_null",
    "expect_column_values_to_be_in_set",
    "expect_column_values_to_be_between",
    "expect_column_value_lengths_to_be_between",
    "expect_column_values_to_match_regex",
    "expect_column_pair_values_to_be_equal",
}
"""Expectations that judge each row alone, so that what they find in parts can be added up."""


def join_results(
    first: Any, other: Any, *, examples: int, whole: Collection[str], together: str | None
) -> None:
    """Add the results of a suite on a further part of a table to those of its first parts.

    Args:
        first: the results so far, which are changed.
        other: the results on the next part.
        examples: number of failing rows that are shown.
        whole: types of expectations that `captionseg.expectations.whole` judges afterwards.
        together: see `Suite`.

    Raises:
        TypeError: for an expectation whose results on parts do not give that on the whole.
    """
    # in another order where some cannot be computed
    others = {identify(result): result for result in other.results}
    for one in first.results:
        more = others[identify(one)]
        kind, kwargs = one.expectation_config.type, one.expectation_config.kwargs
        if read_exception(one.exception_info):
            continue
        if read_exception(more.exception_info):
            one.exception_info, one.result, one.success = more.exception_info, {}, False
        elif kind in ROW_BY_ROW or (together and together in kwargs.get("column_list", ())):
            join_rows(one, more.result, examples)
        elif kind not in whole:
            raise TypeError(f"{kind} looks at more than one row of a table that is read in parts")
        elif "element_count" in one.result:
            join_rows(one, more.result, examples)
    prints = (str(part.meta["batch_markers"].get(FINGERPRINT)) for part in (first, other))
    joined = hashlib.md5("".join(prints).encode(), usedforsecurity=False).hexdigest()
    first.meta["batch_markers"][FINGERPRINT] = joined


def identify(result: Any) -> tuple[str, str]:
    """Return type and arguments of an expectation, from its result."""
    config = result.expectation_config
    return config.type, json.dumps(config.kwargs, sort_keys=True, default=str)


def join_rows(one: Any, more: dict[str, Any], examples: int) -> None:
    """Add the counts and failing rows of a further part to an expectation's result."""
    for name in ("element_count", "missing_count"):
        if name in one.result:
            one.result[name] += more[name]
    values, rows = (
        [*(one.result.get(name) or []), *(more.get(name) or [])][:LISTED]
        for name in ("unexpected_list", "unexpected_index_list")
    )
    unexpected = one.result["unexpected_count"] + more["unexpected_count"]
    set_failing(one, unexpected, values, rows, examples=examples)


def set_failing(
    result: Any, count: int, values: list[Any], rows: list[Any], *, examples: int
) -> None:
    """Set which rows of an expectation's result failed, and what follows from it.

    Args:
        result: the result, with the right numbers of rows and of nulls; it is changed.
        count: number of rows that failed.
        values: what stands in the first of these.
        rows: their keys.
        examples: number of failing rows that are shown.
    """
    elements = result.result["element_count"]
    considered = elements - result.result.get("missing_count", 0)
    mostly = result.expectation_config.kwargs.get("mostly", 1)
    formatted = format_rows(
        result_format={
            "result_format": "COMPLETE",
            "partial_unexpected_count": examples,
            "include_unexpected_rows": False,
        },
        success=not considered or (considered - count) / considered >= mostly,
        element_count=elements,
        # that a column has no nulls is looked for in all rows
        nonnull_count=considered if "missing_count" in result.result else None,
        unexpected_count=count,
        unexpected_list=values,
        unexpected_index_list=rows,
        unexpected_index_column_names=result.result.get("unexpected_index_column_names"),
    )
    result.success, result.result = formatted["success"], formatted["result"]


def count_again(suite_result: Any) -> None:
    """Count again which expectations of a suite succeeded, after their results were changed."""
    statistics = count_successes(suite_result.results)
    suite_result.success = statistics.success
    suite_result.statistics = {
        "evaluated_expectations": statistics.evaluated_expectations,
        "successful_expectations": statistics.successful_expectations,
        "unsuccessful_expectations": statistics.unsuccessful_expectations,
        "success_percent": statistics.success_percent,
    }


def read_exception(info: Any) -> str:
    """Return the first message in an exception_info, which is a dictionary or one per metric; empty
    without an exception.
    """
    infos = [info] if "raised_exception" in info else list(info.values())
    messages = [str(i["exception_message"]) for i in infos if i.get("raised_exception")]
    return " ".join(messages[0].split())[:300] if messages else ""
