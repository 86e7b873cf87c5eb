"""What came of source rows, and of the pictures how many are duplicates and how large they are."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

from captionseg.datasets.pair_tables import list_shards, read_shard
from captionseg.records import one_line
from captionseg.reporting.data_page.bars import make_bars, summarize_numbers
from captionseg.reporting.rendering import DASH, View
from captionseg.sources.reasons import REASONS
from captionseg.sources.source import SPLITS

pc: Any = compute  # its functions are made when it is imported

COLUMNS = (
    "uid",
    "url",
    "caption",
    "split",
    "status",
    "reason",
    "error_message",
    "sha256",
    "phash",
    "width",
    "height",
    "original_width",
    "original_height",
    "held_out_captions",
)
SIDES = (0, 64, 128, 256, 512, 1024, 2048)
"""Lower ends of the classes of the shorter side, in pixels."""


def read_rows(pairs: Path) -> pa.Table:
    """COLUMNS of all rows of all shards, failures too."""
    tables = [read_shard(pairs, shard).select(COLUMNS) for shard in list_shards(pairs)]
    return pa.concat_tables(tables).combine_chunks()


def select_pictures(rows: pa.Table) -> pa.Table:
    """The rows that gave a picture."""
    return rows.filter(pc.equal(rows["status"], "success"))


def count_outcomes(rows: pa.Table) -> list[View]:
    """How many rows had each outcome, most frequent first: status, reason, what that means, count,
    share in %, and a message of one of them.
    """
    table = rows.select(["status", "reason", "error_message"]).group_by(["status", "reason"])
    found = table.aggregate([("status", "count"), ("error_message", "min")]).to_pylist()
    views = [
        {
            "status": row["status"],
            "reason": row["reason"] or "",
            "meaning": REASONS.get(row["reason"] or "", ""),
            "count": row["status_count"],
            "share": 100.0 * row["status_count"] / len(rows),
            "example": one_line(row["error_message_min"] or ""),
        }
        for row in found
    ]
    return sorted(views, key=lambda view: (-view["count"], view["status"], view["reason"]))


def count_splits(rows: pa.Table) -> list[View]:
    """Of each split: source rows, pairs that came of them, different pictures."""
    views = []
    for split in SPLITS:
        part = rows.filter(pc.equal(rows["split"], split))
        if len(part):
            pictures = select_pictures(part)
            different = pc.count_distinct(pictures["sha256"]).as_py()
            views.append(
                {
                    "split": split,
                    "rows": len(part),
                    "pairs": len(pictures),
                    "pictures": different,
                    "share": 100.0 * len(pictures) / len(part),
                }
            )
    return views


def count_duplicates(pictures: pa.Table) -> Mapping[str, View]:
    """Pictures that are there several times: `exact`, of one sha256 from several sources, and
    `near`, of one perceptual hash but of other bytes.

    Of both `groups`, `pictures` in them, `across`, how many groups are in several splits, and
    `keys`, the hashes of the largest groups, largest first.
    """
    kinds = {"exact": ("sha256", "url"), "near": ("phash", "sha256")}
    return {name: count_groups(pictures, by, other) for name, (by, other) in kinds.items()}


def count_groups(pictures: pa.Table, by: str, other: str) -> View:
    """Groups of pictures with one value of a column and several of another."""
    table = pictures.filter(pc.is_valid(pictures[by])).group_by(by)
    found = table.aggregate([(other, "count_distinct"), ("split", "count_distinct")])
    found = found.filter(pc.greater(found[f"{other}_count_distinct"], 1))
    order = found.sort_by([(f"{other}_count_distinct", "descending"), (by, "ascending")])
    return {
        "groups": len(found),
        "pictures": pc.sum(found[f"{other}_count_distinct"]).as_py() or 0,
        "across": pc.sum(pc.greater(found["split_count_distinct"], 1)).as_py() or 0,
        "keys": order[by][:100].to_pylist(),
    }


def describe_sizes(pictures: pa.Table) -> View:
    """Of pictures as they came: shorter sides in classes, and longer side over shorter; of those in
    the shards, the range.
    """
    known = pictures.filter(pc.is_valid(pictures["original_width"]))
    if not len(known):
        return {}
    width, height = (known[f"original_{side}"].to_numpy() for side in ("width", "height"))
    short, aspect = np.minimum(width, height), np.maximum(width, height) / np.minimum(width, height)
    counts = np.histogram(short, (*SIDES, np.iinfo(np.int32).max))[0].tolist()
    names = [f"{low}{DASH}{high - 1}" for low, high in itertools.pairwise(SIDES)]
    names = [f"below {SIDES[1]}", *names[1:], f"{SIDES[-1]} or more"]
    kept = np.minimum(*(known[side].to_numpy() for side in ("width", "height")))
    return {
        "bars": make_bars(names, counts),
        "short": summarize_numbers(short),
        "kept": summarize_numbers(kept),
        "aspect": float(np.median(aspect)),
        "long": int((aspect > 3).sum()),
    }
