"""Segments as SA-1B's JSON, one file an image, with a key `texts` more."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from captionseg.records import UserError
from captionseg.storage import write_json


def export_sa1b(segments: pa.Table, pairs: pa.Table, folder: Path) -> int:
    """Write KEY.json for every image that has segments.

    SA-1B's keys that say how its masks were prompted (`point_coords`, `crop_box`, `predicted_iou`) are left out,
    since nothing here corresponds to them.

    Args:
        segments: of schema SEGMENTS.
        pairs: rows of schema PAIRS, for keys.
        folder: out.

    Returns:
        how many files.

    Raises:
        UserError: if a segment's image is not among the pairs.
    """
    keys = dict(zip(pairs["uid"].to_pylist(), pairs["key"].to_pylist(), strict=True))
    written = 0
    for uid, rows in groupby(segments.sort_by("uid").to_pylist(), key=lambda row: row["uid"]):
        if uid not in keys:
            raise UserError(
                f"segments name image {uid}, which is not among the pairs; export them with their own pairs"
            )
        write_json(annotated(keys[uid], list(rows), number=written), folder / f"{keys[uid]}.json")
        written += 1
    return written


def annotated(key: str, rows: list[dict[str, Any]], *, number: int) -> dict[str, Any]:
    """One image's rows as SA-1B has them."""
    size = {"width": rows[0]["width"], "height": rows[0]["height"]}
    return {
        "image": {"image_id": number, "file_name": f"{key}.jpg", "uid": rows[0]["uid"], **size},
        "annotations": [
            {"id": i, "segment_id": row["segment_id"], "area": row["area"], "bbox": row["bbox"],
             "segmentation": {"size": [row["height"], row["width"]], "counts": row["rle"]},
             "stability_score": row["stability"], "texts": row["texts"]}
            for i, row in enumerate(rows)
        ],
    }  # fmt: skip
