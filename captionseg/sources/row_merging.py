"""Merges the rows of each image into one row, wherever they are in a listing.

The rows are kept in a temporary file. Memory holds 40 bytes per row: a hash of its image, and
positions.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from captionseg.sources.listing_rows import LISTING, make_batch

CHUNK = 4096  # rows of a batch in the file
GROUPS = 4096  # images of a batch that is yielded


def merge_pictures(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield batches of schema LISTING with one row per image, in the order of their first rows.

    An image has the captions of all its rows, each once. Of its refused rows the first stands for
    all: beside the row of the image, or instead of it where all are refused.

    Args:
        batches: of schema LISTING, one row per row of the source.
    """
    with tempfile.TemporaryDirectory(prefix="captionseg-rows-") as folder:
        path = Path(folder) / "rows.arrow"
        hashes = _write_rows(batches, path)
        order = np.argsort(hashes, kind="stable")
        hashes = hashes[order]
        starts = np.flatnonzero(np.concatenate([[True], hashes[1:] != hashes[:-1]]))
        if not len(hashes):
            return
        ends = np.append(starts[1:], len(hashes))
        del hashes
        ranks = np.argsort(order[starts])
        with pa.memory_map(str(path)) as stream:
            file = pa.ipc.open_file(stream)
            for start in range(0, len(ranks), GROUPS):
                chosen = ranks[start : start + GROUPS]
                groups = [order[starts[i] : ends[i]] for i in chosen]
                rows = iter(_take_rows(file, np.concatenate(groups)))
                merged: list[dict[str, Any]] = []
                for group in groups:
                    merged += merge_rows([next(rows) for _ in group])
                yield make_batch(merged)


def _write_rows(batches: Iterable[pa.RecordBatch], path: Path) -> np.ndarray:
    """Write the rows in batches of CHUNK; returns the hashes of their images, uint64 [N]."""
    from pandas.util import hash_array  # slow to import, and every stage knows the sources

    hashes: list[np.ndarray] = [np.zeros(0, np.uint64)]
    waiting = LISTING.empty_table()
    with pa.ipc.new_file(str(path), LISTING) as writer:
        for batch in batches:
            pictures = batch["picture"].to_numpy(zero_copy_only=False)
            hashes.append(hash_array(pictures.astype(object), categorize=False))  # type: ignore[operator]
            waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch])])
            whole = len(waiting) // CHUNK * CHUNK
            if whole:
                writer.write_table(waiting.slice(0, whole).combine_chunks(), max_chunksize=CHUNK)
                waiting = waiting.slice(whole).combine_chunks()
        if len(waiting):
            writer.write_table(waiting.combine_chunks(), max_chunksize=CHUNK)
    return np.concatenate(hashes)


def _take_rows(file: pa.ipc.RecordBatchFileReader, rows: np.ndarray) -> list[dict[str, Any]]:
    """Read rows by their numbers, in that order."""
    chunks = rows // CHUNK
    taken: list[Any] = [None] * len(rows)
    for chunk in np.unique(chunks):
        positions = np.flatnonzero(chunks == chunk)
        batch = file.get_batch(int(chunk)).take(pa.array(rows[positions] % CHUNK))
        for position, row in zip(positions.tolist(), batch.to_pylist(), strict=True):
            taken[position] = row
    return taken


def merge_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Merge rows of LISTING whose images have one hash: one row per image, and one more if some of
    its rows are refused.
    """
    if len(rows) == 1:
        return list(rows)
    pictures: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        pictures.setdefault(row["picture"], []).append(row)
    merged = []
    for group in pictures.values():
        usable = [row for row in group if row["error"] is None]
        refused = [row for row in group if row["error"] is not None]
        texts = list(
            dict.fromkeys(text for row in usable or group for text in row["captions"] or ())
        )
        if usable and (texts or not refused):
            merged.append(usable[0] | {"captions": texts})
        if refused:
            suffix = f" ({len(refused)} rows of the picture)" if len(refused) > 1 else ""
            merged.append(
                refused[0]
                | {"error": refused[0]["error"] + suffix, "captions": [] if usable else texts}
            )
    return merged
