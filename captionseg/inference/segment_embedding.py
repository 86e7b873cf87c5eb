"""Embeds the segments of a folder, shard by shard; finished shards are kept.

A finished shard NNNNN has embeddings_NNNNN.npy (float16 [n, D], L2-normalised) and, written after
it, embeddings_NNNNN.json with the digests of code, model, features and segments.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from tqdm import tqdm

from captionseg.inference.prepared_folders import PreparedFolders
from captionseg.inference.segment_model import SegmentModel
from captionseg.prepared import PreparedInputs
from captionseg.records import SEGMENTS, UserError
from captionseg.segment_text.rle import decode
from captionseg.storage.folders import count_rows
from captionseg.storage.reading import explain_read_errors, read_table
from captionseg.storage.writing import write_array, write_json

PICTURES, PIXELS = 16, 1 << 26  # per batch: pictures, and pixels of all their masks
COLUMNS = ["uid", "segment_id", "height", "width", "rle"]


class SegmentShard(NamedTuple):
    """A shard of segments: its name, its file of schema SEGMENTS, and its number of segments."""

    name: str
    file: Path
    count: int


def list_shards(segments: Path) -> list[SegmentShard]:
    """List the shards of a folder of segments, in order.

    Raises:
        UserError: if there are no segments, or files of another kind.
    """
    shards = []
    for file in sorted(segments.glob("*.parquet")):
        with explain_read_errors(file):
            footer = pq.read_metadata(file)
            columns = footer.schema.to_arrow_schema().names
        if missing := set(COLUMNS) - set(columns):
            raise UserError(f"{file}: not a shard of segments (no {', '.join(sorted(missing))})")
        shards.append(SegmentShard(file.stem, file, footer.num_rows))
    if not any(shard.count for shard in shards):
        raise UserError(
            f"{segments}: no segments; run `dvc repro segment_text`, or name the folder that it "
            "wrote"
        )
    return shards


def embed_shards(
    folder: Path,
    shards: Sequence[SegmentShard],
    made_of: dict[str, dict[str, str]],
    model: SegmentModel,
    prepared: PreparedFolders,
) -> None:
    """Embed the shards that are not finished, one in memory at a time.

    Args:
        folder: folder of the index.
        shards: shards of segments.
        made_of: name of a shard -> digests of code, model, features and segments.
        model: embeds segments.
        prepared: pictures and features.

    Raises:
        UserError: for a segment whose picture is not in the index.
    """
    row_of, inputs = prepared.row_of(), model.inputs(prepared)
    total = sum(shard.count for shard in shards)
    with tqdm(total=total, desc="segment index", unit="seg") as bar:
        for shard in shards:
            mark = folder / f"embeddings_{shard.name}.json"
            array = mark.with_suffix(".npy")
            if holds_value(mark, made_of[shard.name]) and count_rows(array) == shard.count:
                bar.update(shard.count)
                continue
            mark.unlink(missing_ok=True)
            write_array(embed_shard(shard.file, model, inputs, row_of, bar), array)
            write_json(made_of[shard.name], mark)


def embed_shard(
    file: Path, model: SegmentModel, inputs: PreparedInputs, row_of: dict[str, int], bar: tqdm
) -> np.ndarray:
    """Embed the segments of a shard.

    Args:
        file: file of the shard.
        model: embeds segments.
        inputs: makes inputs for rows of the index.
        row_of: uid -> row of the index.
        bar: progress bar.

    Returns:
        [n, D] float16, L2-normalised.

    Raises:
        UserError: for a segment whose picture is not in the index.
    """
    table = read_table(file, schema=SEGMENTS, columns=COLUMNS).to_pydict()
    sizes = list(zip(table["height"], table["width"], strict=True))
    out = np.zeros((len(sizes), model.dims), np.float16)
    for batch in group_batches(table["uid"], sizes):
        height, width = sizes[batch[0][0]]
        masks = np.zeros(
            (len(batch), max(stop - start for start, stop in batch), height, width), bool
        )
        for row, (start, stop) in zip(masks, batch, strict=True):
            row[: stop - start] = decode(table["rle"][start:stop], height, width)
        uids = [table["uid"][start] for start, _ in batch]
        if strange := next((uid for uid in uids if uid not in row_of), None):
            raise UserError(
                f"{file}: picture {strange} is not in the index; run `dvc repro segment_text`"
            )
        vectors = model.segments(inputs, np.array([row_of[uid] for uid in uids]), masks)
        for row, (start, stop) in zip(vectors, batch, strict=True):
            out[start:stop] = row[: stop - start]
            bar.update(stop - start)
    return out


def group_batches(
    uids: Sequence[str], sizes: Sequence[tuple[int, int]]
) -> Iterator[list[tuple[int, int]]]:
    """Yield batches of (start, stop), one per picture; pictures of a batch have the same size.

    Args:
        uids: uid of each segment's picture; equal ones are consecutive.
        sizes: (height, width) of each segment's picture.
    """
    batch: list[tuple[int, int]] = []
    for start, stop in split_spans(uids, sizes):
        area, widest = (
            sizes[start][0] * sizes[start][1],
            max(b - a for a, b in [*batch, (start, stop)]),
        )
        full = len(batch) == PICTURES or (len(batch) + 1) * widest * area > PIXELS
        if batch and (full or sizes[batch[0][0]] != sizes[start]):
            yield batch
            batch = []
        batch.append((start, stop))
    if batch:
        yield batch


def split_spans(uids: Sequence[str], sizes: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of successive segments of a picture, at most as many as PIXELS allow."""
    start = 0
    for stop in range(1, len(uids) + 1):
        most = max(1, PIXELS // (sizes[start][0] * sizes[start][1]))
        if stop == len(uids) or uids[stop] != uids[start] or stop - start == most:
            yield start, stop
            start = stop


def holds_value(file: Path, value: dict[str, Any]) -> bool:
    """Return whether a JSON file contains a value."""
    try:
        return json.loads(file.read_text(encoding="utf-8")) == value
    except (OSError, ValueError):
        return False
