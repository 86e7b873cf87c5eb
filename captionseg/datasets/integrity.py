"""Checks that tar, parquet, stats and truth of a shard exist and are of the same rows."""

from __future__ import annotations

import json
import re
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from captionseg.datasets.shard_images import PLACE
from captionseg.records import PAIRS, one_line

T = TypeVar("T")
ENDS = (".jpg", ".txt", ".json")
"""Suffixes of the files of a sample in the tar."""


class _Broken(Exception):
    """What is wrong with a file, in words."""


def find_flaw(pairs: Path, truth: Path, name: str, *, rows: int, stamp: str) -> str:
    """What is wrong with a shard, in words; empty if it is complete.

    Args:
        pairs: folder of shards.
        truth: folder of their truth.
        name: NNNNN.
        rows: number of source rows that it should have.
        stamp: hash of the source and its settings, that its stats should have.
    """
    try:
        stats = _read(
            pairs / f"{name}_stats.json",
            lambda path: dict(json.loads(path.read_text(encoding="utf-8"))),
        )
        table = _read(pairs / f"{name}.parquet", lambda path: pq.ParquetFile(path).read())
        truth_table = _read(
            truth / f"{name}.parquet", lambda path: pq.ParquetFile(path).read(["uid"])
        )
        members = _read(pairs / f"{name}.tar", _members)
        successes = [row for row in _rows(table) if row["status"] == "success"]
        for quantity, actual, expected in (
            ("source", stats.get("source"), stamp),
            ("rows in the parquet", len(table), rows),
            ("rows in the stats", stats.get("count"), rows),
            ("successes in the stats", stats.get("successes"), len(successes)),
            ("files in the tar", len(members), len(successes) * len(ENDS)),
            ("rows in the truth", len(truth_table), stats.get("known")),
        ):
            if actual != expected:
                return f"{quantity}: found {actual}, expected {expected}"
        if members != [f"{row['key']}{end}" for row in successes for end in ENDS]:
            return "the tar has other samples than the parquet"
        if Counter(truth_table["uid"].to_pylist()) - Counter(row["uid"] for row in successes):
            return "the truth has other uids than the parquet"
    except _Broken as error:
        return str(error)
    return ""


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    if not table.schema.equals(PAIRS):
        raise _Broken("the parquet has other columns than pairs have")
    return table.select(["uid", "key", "status"]).to_pylist()


def _members(path: Path) -> list[str]:
    with tarfile.open(path, "r:") as tar:
        return [re.sub(rf"{re.escape(PLACE)}$", ".jpg", name) for name in tar.getnames()]


def _read(path: Path, read: Callable[[Path], T]) -> T:
    try:
        return read(path)
    except FileNotFoundError:
        raise _Broken(f"{path.name} is missing") from None
    except (OSError, ValueError, TypeError, tarfile.TarError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno:  # of the disk, not of what is on it
            raise
        raise _Broken(
            f"{path.name} cannot be read ({one_line(error) or type(error).__name__})"
        ) from None
