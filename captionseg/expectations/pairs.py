"""Expectations of the pairs: one row per source row, including failures."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa

from captionseg.expectations.known_pairs import stream_shards
from captionseg.expectations.params import ValidateParams
from captionseg.expectations.quiet import Column, expect
from captionseg.expectations.suite import Suite, expect_not_null, expect_true

COLUMNS = (
    "uid",
    "key",
    "url",
    "caption",
    "split",
    "status",
    "error_message",
    "sha256",
    "width",
    "height",
)
"""Columns of PAIRS that expectations are about."""

STATUSES = ["success", "failed_to_download", "failed_to_resize"]


def build_suite(folder: Path, params: ValidateParams) -> Suite:
    """Build the suite of tables with the COLUMNS of schema PAIRS, in shards."""
    return Suite(
        "pairs",
        lambda: (to_frame(table) for table in stream_shards(folder, COLUMNS)),
        [
            expect.ExpectTableRowCountToBeBetween(min_value=params.min_pairs),
            *expect_not_null("uid", "key", "url", "caption", "split", "status"),
            expect.ExpectColumnValuesToBeUnique(column="uid"),
            expect.ExpectColumnValuesToMatchRegex(column="uid", regex="^[0-9a-f]{32}$"),
            expect.ExpectColumnValuesToBeUnique(column="key"),
            # a failed row may lack a caption
            expect.ExpectColumnValueLengthsToBeBetween(
                column="caption",
                min_value=1,
                max_value=params.max_caption,
                row_condition=Column("status") == "success",
            ),
            expect.ExpectColumnValuesToBeInSet(column="split", value_set=["train", "tune", "test"]),
            expect.ExpectColumnValuesToBeInSet(column="status", value_set=STATUSES),
            expect.ExpectColumnValuesToBeInSet(
                column="status", value_set=["success"], mostly=params.min_success
            ),
            expect.ExpectColumnValuesToBeBetween(
                column="width", min_value=params.min_side, max_value=params.max_side
            ),
            expect.ExpectColumnValuesToBeBetween(
                column="height", min_value=params.min_side, max_value=params.max_side
            ),
            expect.ExpectColumnValuesToMatchRegex(column="sha256", regex="^[0-9a-f]{64}$"),
            *expect_true("complete", "reason_given"),
        ],
    )


def to_frame(table: pa.Table) -> pd.DataFrame:
    """Convert the table and add two columns.

    complete: a success has sha256, width and height. reason_given: a failure has an error message,
    and a success has none.
    """
    rows = table.to_pandas()
    success = rows["status"] == "success"
    rows["complete"] = ~success | rows[["sha256", "width", "height"]].notna().all(axis=1)
    rows["reason_given"] = success != rows["error_message"].notna()
    return rows
