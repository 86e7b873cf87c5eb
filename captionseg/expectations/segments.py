"""Expectations of segments: the segments, their texts, their number per picture, and losses."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Bool, Int32

from captionseg.datasets.ids import number_pictures
from captionseg.expectations.known_pairs import NO_SIZE, KnownPairs, look_up, stream_shards
from captionseg.expectations.params import ValidateParams
from captionseg.expectations.quiet import expect
from captionseg.expectations.suite import Suite, expect_not_null, expect_true, explode
from captionseg.records import SEGMENTS
from captionseg.segment_text.phrases import normalise_text
from captionseg.segment_text.rle import measure_areas

KINDS = ["phrase", "expression", "concept", "vg"]
OF_NO_CAPTION = ["concept", "vg"]


@dataclass(frozen=True)
class Pictured:
    """The N successful pairs, with what segments are expected of.

    Attributes:
        pairs: all of them.
        known: those of the split that has segments that no marker marks.
        kept: those that curation keeps.
    """

    pairs: KnownPairs
    known: Bool[np.ndarray, " row"]
    kept: Bool[np.ndarray, " row"]


def build_suites(
    folder: Path, pairs: Pictured, counts: Mapping[str, int], params: ValidateParams
) -> Iterator[Suite]:
    """Yield the suites of tables with schema SEGMENTS.

    Args:
        folder: the tables, in shards.
        pairs: which should have segments.
        counts: `captionseg.segment_text.counts` of all shards.
        params: section `validate`.
    """

    def list_segments() -> Iterator[pd.DataFrame]:
        return (to_frame(table, pairs) for table in stream_shards(folder, SEGMENTS.names))

    def list_texts() -> Iterator[pd.DataFrame]:
        for table in stream_shards(folder, ["uid", "segment_id", "texts"]):
            yield to_text_frame(table)

    making = tabulate_making(counts)
    yield Suite.of("making of segments", making, expect_making(params), key="table")
    images = functools.partial(list_images, pairs, count_segments(folder, pairs.pairs))
    yield Suite("segments per image", images, expect_images(params))
    if any(len(table) for table in stream_shards(folder, ["uid"])):
        yield Suite("segments", list_segments, expect_segments(params))
        yield Suite("texts of segments", list_texts, expect_texts(params), together="segment_id")


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


def to_frame(table: pa.Table, pairs: Pictured) -> pd.DataFrame:
    """Convert segments without their texts, and add columns.

    texts: number of texts. rle_area: pixels inside the RLE. bbox_inside: the box is inside the
    picture and large enough for the area. size_of_pair: width and height are those of the
    successful pair with that uid. full_is_full: a segment marked as the whole picture covers it.
    full: 1 for those, otherwise 0. of_kept: curation keeps its picture.
    """
    left_out = ("texts", "bbox", "shard")
    rows = table.select([n for n in table.schema.names if n not in left_out]).to_pandas()
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
    place = pairs.pairs.uids.find(table["uid"])
    size = look_up(pairs.pairs.size, place, NO_SIZE)
    same = (size != NO_SIZE) & (size == rows[["width", "height"]].to_numpy())
    known = look_up(pairs.known, place, False)
    rows["size_of_pair"] = known & same.all(axis=1)
    rows["full_is_full"] = ~rows["full_image"].astype(bool) | (
        rows["area"] == rows["width"] * rows["height"]
    )
    rows["full"] = rows["full_image"].astype(float)
    rows["of_kept"] = known & look_up(pairs.kept, place, False)
    return rows


def to_text_frame(table: pa.Table) -> pd.DataFrame:
    """Convert the texts of segments to a row each, and add columns.

    normalised: the text as it is compared with others. of_caption: it has a caption exactly if its
    kind requires one.
    """
    texts = explode(table, "texts", keep=["uid", "segment_id"])
    texts["normalised"] = [normalise_text(text or "") for text in texts["text"]]
    texts["of_caption"] = (texts["caption"] == -1) == texts["kind"].isin(OF_NO_CAPTION)
    return texts


def count_segments(folder: Path, pairs: KnownPairs) -> Int32[np.ndarray, " row"]:
    """Count the segments of each pair."""
    counts = np.zeros(len(pairs), np.int32)
    for table in stream_shards(folder, ["uid"]):
        rows = pairs.uids.find(table["uid"])
        np.add.at(counts, rows[rows >= 0], 1)
    return pairs.uids.repeat(counts)


def list_images(pairs: Pictured, counts: Int32[np.ndarray, " row"]) -> Iterator[pd.DataFrame]:
    """Yield a row per picture of the split that has segments: uid of its first successful pair, and
    its number of segments.

    Pairs of a shard with the same picture count as one, as in segment_text.

    Args:
        pairs: which should have segments.
        counts: number of segments of each pair.
    """
    for place, successes in pairs.pairs.stream(["uid", "split", "sha256"]):
        known = pairs.known[place]
        table = successes.filter(pa.array(known))
        rows = table.select(["uid", "split", "shard"]).to_pandas()
        rows["segments"] = counts[place][known].astype(int)
        rows["picture"] = number_pictures(table)
        of = rows.groupby(["shard", "picture"], sort=False)
        yield of.agg({"uid": "first", "split": "first", "segments": "sum"}).reset_index(drop=True)


def expect_images(params: ValidateParams) -> list[Any]:
    """Return the expectations of `list_images`."""
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
    """Return the expectations of `to_text_frame`."""
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
