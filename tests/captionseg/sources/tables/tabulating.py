"""Rows of listings of tables that a test writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from captionseg.sources.listing_rows import LISTING
from captionseg.sources.reasons import REASONS
from captionseg.sources.tables.pair_columns import URLS, Columns
from captionseg.sources.tables.table_listing import read_listing

FILES = Columns("download.table")
LINKS = Columns("download.urls", pictures=URLS)


def put(folder: Path, name: str, content: bytes | str) -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def rows(*paths: str, columns: Columns = FILES) -> list[dict[str, Any]]:
    found = []
    for batch in read_listing(paths, columns):
        assert batch.schema.equals(LISTING)
        found += batch.to_pylist()
    assert all((row["error"] is None) == (row["reason"] is None) for row in found)
    assert {row["reason"] for row in found} - {None} <= REASONS.keys()
    assert all("\n" not in (row["error"] or "") for row in found)
    return found


def good(*paths: str, columns: Columns = FILES) -> dict[str, list[str]]:
    found = rows(*paths, columns=columns)
    assert not [row["error"] for row in found if row["error"]]
    return {row["picture"]: row["captions"] for row in found}


def reasons(*paths: str, columns: Columns = FILES) -> dict[str, tuple[str, str]]:
    return {
        row["source_row"]: (row["reason"], row["error"])
        for row in rows(*paths, columns=columns)
        if row["reason"]
    }
