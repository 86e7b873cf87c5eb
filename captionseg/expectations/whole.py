"""Expectations of a whole column, judged from its parts by little that is kept of each."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
from jaxtyping import UInt64

from captionseg.expectations.hashes import hash_values, list_once
from captionseg.expectations.results import LISTED, read_exception, set_failing
from captionseg.expectations.suite import Suite


class WholeColumn(Protocol):
    """What an expectation has to know of all parts of a table."""

    def add(self, frame: Any) -> None:
        """Look at the next part."""
        ...

    def judge(self, result: Any, suite: Suite, examples: int) -> None:
        """Set the result of the expectation on all parts.

        Args:
            result: what Great Expectations found in the first part, with the counts of all; it is
                changed.
            suite: for another look at the parts.
            examples: number of failing rows that are shown.
        """
        ...


class Repeats:
    """Values that are there twice: 8 bytes a row, and the rows that fail."""

    def __init__(self, column: str) -> None:
        self.column, self.hashes = column, array("Q")

    def add(self, frame: Any) -> None:
        """Keep a hash of each value."""
        self.hashes.frombytes(hash_column(frame[self.column].dropna()).tobytes())

    def judge(self, result: Any, suite: Suite, examples: int) -> None:
        """Compare the values whose hashes are there twice."""
        repeated = list_repeated(np.frombuffer(self.hashes, np.uint64))
        if not len(repeated):
            return  # no part has a value twice either
        names = list(dict.fromkeys([self.column, suite.key]))
        found: Any = pd.concat(
            part.loc[is_among(part[self.column], repeated), names] for part in suite.parts()
        )
        found = found[found[self.column].duplicated(keep=False)]
        listed = found[:LISTED]
        values, rows = listed[self.column].tolist(), listed.to_dict("records")
        set_failing(result, len(found), values, rows, examples=examples)


class Mean:
    """The mean of a column, exact for integers."""

    def __init__(self, column: str) -> None:
        self.column, self.sum, self.count = column, 0.0, 0

    def add(self, frame: Any) -> None:
        """Add up the values."""
        values = frame[self.column].dropna()
        self.sum, self.count = self.sum + float(values.sum()), self.count + len(values)

    def judge(self, result: Any, suite: Suite, examples: int) -> None:
        """Compare the mean with its limits."""
        set_value(result, self.sum / self.count if self.count else float("nan"))


class Median:
    """The median of a column, from how often each of its values is there."""

    def __init__(self, column: str) -> None:
        self.column, self.counts = column, Counter[float]()

    def add(self, frame: Any) -> None:
        """Count the values."""
        self.counts.update(frame[self.column].dropna().value_counts().to_dict())

    def judge(self, result: Any, suite: Suite, examples: int) -> None:
        """Compare the median with its limits."""
        values = sorted(self.counts)
        ends = np.cumsum([self.counts[value] for value in values])
        count = int(ends[-1]) if values else 0
        middle = np.searchsorted(ends, [(count - 1) // 2, count // 2], side="right")
        set_value(result, float(np.mean([values[i] for i in middle])) if count else float("nan"))


class UniqueShare:
    """The number of different values among all: 8 to 32 bytes for each that is different."""

    def __init__(self, column: str) -> None:
        self.column, self.count = column, 0
        self.hashes, self.added = np.zeros(0, np.uint64), array("Q")

    def add(self, frame: Any) -> None:
        """Keep a hash of each value; those that are there twice are left out now and then."""
        hashes = hash_column(frame[self.column].dropna())
        self.count += len(hashes)
        self.added.frombytes(hashes.tobytes())
        if len(self.added) > len(self.hashes):
            self.leave_out_repeated()

    def leave_out_repeated(self) -> None:
        """Keep each hash once."""
        hashes = np.concatenate([self.hashes, np.frombuffer(self.added, np.uint64)])
        self.added = array("Q")
        hashes.sort()
        self.hashes = list_once(hashes)

    def judge(self, result: Any, suite: Suite, examples: int) -> None:
        """Compare the share with its limits."""
        self.leave_out_repeated()
        set_value(result, len(self.hashes) / max(1, self.count))


class RowCount:
    """The number of rows."""

    def __init__(self, column: str) -> None:
        self.count = 0

    def add(self, frame: Any) -> None:
        """Count the rows."""
        self.count += len(frame)

    def judge(self, result: Any, suite: Suite, examples: int) -> None:
        """Compare their number with its limits."""
        set_value(result, self.count)


WHOLE: dict[str, Callable[[str], WholeColumn]] = {
    "expect_column_values_to_be_unique": Repeats,
    "expect_column_mean_to_be_between": Mean,
    "expect_column_median_to_be_between": Median,
    "expect_column_proportion_of_unique_values_to_be_between": UniqueShare,
    "expect_table_row_count_to_be_between": RowCount,
}


def watch_columns(suite: Suite) -> dict[tuple[str, str], WholeColumn]:
    """Return what is kept of all parts, by type and column of the expectations that need it."""
    needed = {
        (kind, getattr(expectation, "column", ""))
        for expectation in suite.expectations
        if (kind := expectation.expectation_type) in WHOLE
    }
    return {(kind, column): WHOLE[kind](column) for kind, column in needed}


def judge_columns(
    results: Sequence[Any],
    columns: Mapping[tuple[str, str], WholeColumn],
    suite: Suite,
    examples: int,
) -> None:
    """Set the results of all expectations in WHOLE; see `WholeColumn.judge`."""
    for result in results:
        config = result.expectation_config
        column = columns.get((config.type, config.kwargs.get("column", "")))
        if column and not read_exception(result.exception_info):
            column.judge(result, suite, examples)


def set_value(result: Any, value: float) -> None:
    """Set an expectation's result by the value that it compares with its limits."""
    kwargs = result.expectation_config.kwargs
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    above = low is None or (value > low if kwargs.get("strict_min") else value >= low)
    below = high is None or (value < high if kwargs.get("strict_max") else value <= high)
    result.success = bool(above and below and value == value)
    result.result = {**result.result, "observed_value": value}


def hash_column(values: Any) -> UInt64[np.ndarray, " row"]:
    """Hash the values of a column."""
    return hash_values(values.to_numpy(object))


def list_repeated(hashes: UInt64[np.ndarray, " row"]) -> UInt64[np.ndarray, " repeated"]:
    """Return the hashes that are there twice, sorted; all are sorted in place."""
    hashes.sort()
    return list_once(hashes[1:][hashes[1:] == hashes[:-1]])


def is_among(column: Any, hashes: UInt64[np.ndarray, " repeated"]) -> np.ndarray:
    """Return which values of a column are not null and have one of some sorted hashes."""
    own = hash_column(column)
    place = np.minimum(np.searchsorted(hashes, own), len(hashes) - 1)
    return (hashes[place] == own) & column.notna().to_numpy()
