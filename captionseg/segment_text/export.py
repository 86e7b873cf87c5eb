"""Exports segments as SA-1B's JSON: one file per image, with the additional key `texts`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from captionseg.records import PAIRS, SEGMENTS, UserError, one_line
from captionseg.storage.reading import read_batches, read_table
from captionseg.storage.writing import write_json

ROWS = 512  # segments in memory at once, in addition to those of one image


def export_sa1b(segments: Path, pairs: Path, out: Path) -> int:
    """Write OUT/KEY.json for every image that has segments; of each shard, few rows are in memory
    at once.

    SA-1B's keys that say how its masks were prompted (`point_coords`, `crop_box`, `predicted_iou`)
    are left out, since nothing here corresponds to them.

    Args:
        segments: the segment_text stage's, NNNNN.parquet of schema SEGMENTS, the rows of an image
            in succession.
        pairs: shards of the same pairs, for keys.
        out: an empty folder, or one that is not there yet.

    Returns:
        how many files.

    Raises:
        UserError: if there are no segments, a segment's image is not among the pairs, or `out`
            holds anything.
    """
    files = sorted(segments.glob("[0-9]*.parquet"))
    if not files:
        raise UserError(f"{segments}: no segments; make them first: `dvc repro segment_text`")
    with explain_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise UserError(
                f"{out} is not empty, and nothing is mixed into what is there; give another folder"
            )
    written = 0
    with tqdm(
        total=sum(count_segments(file) for file in files), desc="export", unit="segment"
    ) as bar:
        for file in files:
            keys = read_keys(pairs / file.name)
            for uid, group in groupby(read_rows(file), key=lambda row: row["uid"]):
                if uid not in keys:
                    raise UserError(
                        f"{file}: image {uid} is not in {pairs / file.name}; give the pairs that "
                        "these segments were made of"
                    )
                rows = list(group)
                write_json(annotate(keys[uid], rows, number=written), out / f"{keys[uid]}.json")
                written += 1
                bar.update(len(rows))
    return written


def read_keys(shard: Path) -> dict[str, str]:
    """uid -> key of a shard of pairs."""
    table = read_table(shard, schema=PAIRS, columns=["uid", "key"])
    return dict(zip(table["uid"].to_pylist(), table["key"].to_pylist(), strict=True))


def count_segments(file: Path) -> int:
    """Number of segments in a file.

    Raises:
        UserError: if it is not a file of segments.
    """
    with explain_errors(file), pq.ParquetFile(file) as parquet:
        if not parquet.schema_arrow.equals(SEGMENTS):
            raise UserError(
                f"{file}: not segments of this version; make them anew: `dvc repro segment_text`"
            )
        return parquet.metadata.num_rows


def read_rows(file: Path) -> Iterator[dict[str, Any]]:
    """The segments of a file."""
    for batch in read_batches(file, SEGMENTS.names, ROWS, schema=SEGMENTS):
        yield from batch.to_pylist()


@contextlib.contextmanager
def explain_errors(path: Path) -> Iterator[None]:
    """Turn errors of reading or writing a path into one line.

    Raises:
        UserError: if the path is missing, unreadable, damaged or not writable.
    """
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: cannot be used: {one_line(error)}") from None


def annotate(key: str, rows: list[dict[str, Any]], *, number: int) -> dict[str, Any]:
    """The segments of one image in SA-1B's format.

    Args:
        key: name of the image file.
        rows: its segments, schema SEGMENTS.
        number: of the image.
    """
    size = {"width": rows[0]["width"], "height": rows[0]["height"]}
    return {
        "image": {"image_id": number, "file_name": f"{key}.jpg", "uid": rows[0]["uid"], **size},
        "annotations": [
            {
                "id": i,
                "segment_id": row["segment_id"],
                "area": row["area"],
                "bbox": row["bbox"],
                "segmentation": {"size": [row["height"], row["width"]], "counts": row["rle"]},
                "stability_score": row["stability"],
                "texts": row["texts"],
            }
            for i, row in enumerate(rows)
        ],
    }
