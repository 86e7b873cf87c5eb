"""The rows of a listing: one per image at first, then one per pair of image and caption."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

BATCH = 4096  # rows

LISTING = pa.schema(
    [
        ("picture", pa.string()),  # path below the root, URL, or member of an archive
        ("captions", pa.list_(pa.string())),  # clean, each once
        ("source_row", pa.string()),  # "captions.csv:17", "00012.tar:000120034", "a/b.jpg"
        ("sha256", pa.string()),  # of the picture's bytes; "" where they are not known yet
        ("error", pa.string()),  # one line; null where the row can be read
        ("reason", pa.string()),  # one of REASONS; null where the row can be read
    ]
)
"""One row per picture; a caption that is refused has a row of its own, with the reason."""

ROWS = pa.schema(
    [
        ("picture", pa.string()),
        ("caption", pa.string()),
        ("held_out", pa.list_(pa.string())),
        ("source_row", pa.string()),
        ("sha256", pa.string()),
        ("error", pa.string()),
        ("reason", pa.string()),
    ]
)
"""One row per pair, as `captions` chooses."""


@dataclass(frozen=True)
class Row:
    """A row of schema ROWS."""

    picture: str
    caption: str
    held_out: tuple[str, ...]
    source_row: str
    sha256: str
    error: str | None
    reason: str | None


def choose_captions(row: dict[str, Any], captions: str) -> list[dict[str, Any]]:
    """The rows of ROWS that one row of LISTING becomes.

    Args:
        row: one without captions keeps its error, or gets one.
        captions: first, each or random, see ListedSource.
    """
    texts = row.pop("captions") or []
    if not texts and row["error"] is None:
        row |= {"error": "it has no caption", "reason": "no_caption"}
    if len(texts) < 2:
        return [row | {"caption": "".join(texts), "held_out": []}]
    if captions == "each":
        return [row | {"caption": text, "held_out": []} for text in texts]
    chosen = int(hash_name(row["picture"])[-8:], 16) % len(texts) if captions == "random" else 0
    rest = texts[:chosen] + texts[chosen + 1 :]
    return [row | {"caption": texts[chosen], "held_out": rest}]


def describe_captions(count: int, captions: str) -> str:
    """One line for the log: how pairs are made of images with several captions.

    Args:
        count: number of such images.
        captions: see `choose_captions`.
    """
    choice = {
        "first": "the first makes a pair, and the others are held out",
        "random": "one, drawn by the picture's name, makes a pair, and the others are held out",
        "each": "each makes a pair of its own, and none is held out",
    }[captions]
    return f"download: {count} pictures have several captions; {choice} (captions: {captions})"


def hash_name(name: str) -> str:
    """SHA-256 of a name, 64 hex digits."""
    return hashlib.sha256(os.fsencode(name)).hexdigest()


def make_batch(rows: Sequence[dict[str, Any]]) -> pa.RecordBatch:
    """A batch of schema LISTING; what a row lacks is null."""
    return pa.RecordBatch.from_pylist([dict.fromkeys(LISTING.names) | row for row in rows], LISTING)


def make_batches(rows: Iterable[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    """Yield rows of schema LISTING in batches of BATCH; what a row lacks is null."""
    iterator = iter(rows)
    while batch := list(itertools.islice(iterator, BATCH)):
        yield make_batch(batch)
