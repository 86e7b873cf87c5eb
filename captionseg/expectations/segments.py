"""Expectations of segments: the segments, their texts, their number per picture, and losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from captionseg.datasets.ids import number_pictures
from captionseg.expectations.params import ValidateParams
from captionseg.expectations.quiet import expect
from captionseg.expectations.suite import Suite, expect_not_null, expect_true, explode
from captionseg.segment_text.phrases import normalise_text
from captionseg.segment_text.rle import measure_areas

KINDS = ["phrase", "expression", "concept", "vg"]
OF_NO_CAPTION = ["concept", "vg"]


def build_suites(
    table: pa.Table,
    pairs: pa.Table,
    counts: Mapping[str, int],
    params: ValidateParams,
    *,
    kept: pa.Array,
) -> list[Suite]:
    """Build the suites of a table with schema SEGMENTS.

    Args:
        table: all segments.
        pairs: the successful rows of the pairs of the split that has segments and that no marker
            marks, with a column `shard`.
        counts: `captionseg.segment_text.counts` of all shards.
        params: section `validate`.
        kept: uids that curation keeps, a column.
    """
    out = [
        Suite("making of segments", tabulate_making(counts), expect_making(params), key="table"),
        Suite("segments per image", tabulate_images(table, pairs), expect_images(params)),
    ]
    if len(table):
        texts = explode(table, "texts", keep=["uid", "segment_id"])
        texts["normalised"] = [normalise_text(text or "") for text in texts["text"]]
        texts["of_caption"] = (texts["caption"] == -1) == texts["kind"].isin(OF_NO_CAPTION)
        out += [
            Suite("segments", to_frame(table, pairs, kept), expect_segments(params)),
            Suite("texts of segments", texts, expect_texts(params)),
        ]
    return out


def tabulate_making(counts: Mapping[str, int]) -> pd.DataFrame:
    """Build one row on how segments were made.

    images: number of processed pictures. unassigned: share of boxes that belong to no phrase. cut:
    share of captions that were read in pieces. uncaptioned: share of pictures without a generated
    caption among those to be captioned.
    """
    boxes, unassigned, lost, generated = (
        sum(counts.get(name, 0) for name in names)
        for names in (
            ["boxes"],
            ["boxes_unassigned"],
            ["captions_failed", "captions_missing"],
            ["captions_generated"],
        )
    )
    shares = {
        "unassigned": unassigned / max(1, boxes + unassigned),
        "cut": counts.get("captions_cut", 0) / max(1, counts.get("captions", 0)),
        "uncaptioned": lost / max(1, lost + generated),
    }
    return pd.DataFrame([{"table": "segments", "images": counts.get("images", 0), **shares}])


def to_frame(table: pa.Table, pairs: pa.Table, kept: pa.Array) -> pd.DataFrame:
    """Convert the segments without their texts, and add columns.

    texts: number of texts. rle_area: pixels inside the RLE. bbox_inside: the box is inside the
    picture and large enough for the area. size_of_pair: width and height are those of the
    successful pair with that uid. full_is_full: a segment marked as the whole picture covers it.
    full: 1 for those, otherwise 0. of_kept: curation keeps its picture.
    """
    rows = table.select([n for n in table.schema.names if n not in ("texts", "bbox")]).to_pandas()
    rows["texts"] = [len(row or []) for row in table["texts"].to_pylist()]
    rows["rle_area"] = measure_areas(
        rows["rle"].fillna("").tolist(), rows["height"].tolist(), rows["width"].tolist()
    )
    x, y, w, h = np.array([box or [np.nan] * 4 for box in table["bbox"].to_pylist()], float).T
    rows["bbox_inside"] = (
        (x >= 0)
        & (y >= 0)
        & (w > 0)
        & (h > 0)
        & (x + w <= rows["width"])
        & (y + h <= rows["height"])
        & (w * h >= rows["area"])
    )
    size_by_uid = (
        pairs.select(["uid", "width", "height"]).to_pandas().drop_duplicates("uid").set_index("uid")
    )
    size = size_by_uid.reindex(rows["uid"])
    rows["size_of_pair"] = np.all(size.to_numpy() == rows[["width", "height"]].to_numpy(), axis=1)
    rows["full_is_full"] = ~rows["full_image"].astype(bool) | (
        rows["area"] == rows["width"] * rows["height"]
    )
    rows["full"] = rows["full_image"].astype(float)
    rows["of_kept"] = rows["uid"].isin(kept.to_pandas()) & rows["uid"].isin(size_by_uid.index)
    return rows


def tabulate_images(table: pa.Table, pairs: pa.Table) -> pd.DataFrame:
    """Build a row per picture of the split that has segments: uid of its first successful pair, and
    its number of segments.

    Pairs of a shard with the same picture count as one, as in segment_text.
    """
    counts = table["uid"].to_pandas().value_counts()
    rows = pairs.select(["uid", "split", "shard"]).to_pandas()
    rows["segments"] = rows["uid"].map(counts).fillna(0).astype(int)
    rows["picture"] = number_pictures(pairs)
    of = rows.groupby(["shard", "picture"], sort=False)
    return of.agg({"uid": "first", "split": "first", "segments": "sum"}).reset_index(drop=True)


def expect_images(params: ValidateParams) -> list[Any]:
    """Return the expectations of `tabulate_images`."""
    return [
        expect.ExpectColumnValuesToBeBetween(
            column="segments", min_value=1, mostly=params.min_with_segments
        ),
        expect.ExpectColumnValuesToBeBetween(column="segments", max_value=params.max_segments),
        expect.ExpectColumnMedianToBeBetween(
            column="segments",
            min_value=params.min_median_segments,
            max_value=params.max_median_segments,
        ),
    ]


def expect_making(params: ValidateParams) -> list[Any]:
    """Return the expectations of `tabulate_making`."""
    return [
        expect.ExpectColumnValuesToBeBetween(column="images", min_value=1),
        expect.ExpectColumnValuesToBeBetween(column="unassigned", max_value=params.max_unassigned),
        expect.ExpectColumnValuesToBeBetween(column="cut", max_value=params.max_cut),
        expect.ExpectColumnValuesToBeBetween(
            column="uncaptioned", max_value=params.max_uncaptioned
        ),
    ]


def expect_segments(params: ValidateParams) -> list[Any]:
    """Return the expectations of `to_frame`."""
    return [
        *expect_not_null(
            "uid", "segment_id", "rle", "source", "full_image", "area", "stability", "score"
        ),
        expect.ExpectColumnValuesToBeUnique(column="segment_id"),
        expect.ExpectColumnValuesToBeBetween(column="area", min_value=1),
        expect.ExpectColumnPairValuesToBeEqual(column_A="area", column_B="rle_area"),
        *expect_true("bbox_inside", "size_of_pair", "full_is_full", "of_kept"),
        expect.ExpectColumnValuesToBeBetween(column="stability", min_value=0, max_value=1),
        expect.ExpectColumnValuesToBeBetween(column="score", min_value=0, max_value=1),
        expect.ExpectColumnValuesToBeBetween(column="texts", min_value=1),
        expect.ExpectColumnMeanToBeBetween(column="texts", max_value=params.max_texts),
        expect.ExpectColumnMeanToBeBetween(column="full", max_value=params.max_full_image),
    ]


def expect_texts(params: ValidateParams) -> list[Any]:
    """Return the expectations of the texts of segments, one row each. of_caption: it has a caption
    exactly if its kind requires one.
    """
    return [
        *expect_not_null("text", "kind", "score", "caption", "count"),
        expect.ExpectColumnValueLengthsToBeBetween(column="text", min_value=1),
        expect.ExpectColumnValuesToBeInSet(column="kind", value_set=KINDS),
        expect.ExpectColumnValuesToBeBetween(column="caption", min_value=-1),
        *expect_true("of_caption"),
        expect.ExpectColumnValuesToBeBetween(column="count", min_value=1),
        expect.ExpectColumnValuesToBeBetween(column="score", min_value=0, max_value=1),
        expect.ExpectCompoundColumnsToBeUnique(column_list=["segment_id", "normalised"]),
        expect.ExpectColumnProportionOfUniqueValuesToBeBetween(
            column="normalised", min_value=params.min_unique_texts
        ),
    ]
