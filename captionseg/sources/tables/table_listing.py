"""Tables of images and captions -> rows of a listing."""

from __future__ import annotations

import contextlib
import logging
import posixpath
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from captionseg.records import one_line
from captionseg.sources.listing_rows import make_batches
from captionseg.sources.reasons import Refusal
from captionseg.sources.row_merging import merge_pictures
from captionseg.sources.tables.cells import read_cell, read_name
from captionseg.sources.tables.delimited import Cells
from captionseg.sources.tables.pair_columns import Columns
from captionseg.sources.tables.table_formats import open_table
from captionseg.storage.remote import hide_secrets

log = logging.getLogger(__name__)


def read_listing(
    tables: Sequence[str], columns: Columns, *, tidy: Callable[[str, str], str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield batches of schema LISTING: a row per image with all its captions, in the order of the
    first row of each.

    A row that cannot be used is kept, with the reason; if it names no image, it has the name of its
    source row. Memory: see `merge_pictures`.

    Args:
        tables: URLs or paths of the files.
        columns: those to read.
        tidy: (table, cell) -> path of the image; may raise Refusal. None takes the cell itself.

    Raises:
        UserError: if a file cannot be read, or lacks a column.
    """
    return merge_pictures(make_batches(_list_rows(tables, columns, tidy)))


def _list_rows(
    tables: Sequence[str], columns: Columns, tidy: Callable[[str, str], str] | None
) -> Iterator[dict[str, Any]]:
    for url, name in zip(tables, name_tables(tables), strict=True):
        table = open_table(url, columns.known)
        picture, caption = columns.choose(table, hide_secrets(url))
        log.info(
            "%s: pictures from column %r, captions from %r (%s.picture_column, .caption_column)",
            *(name, picture, caption or None, columns.section),
        )
        for cells in table.read_rows(picture, caption):
            yield from read_row(cells, f"{name}:{cells.number}", url, tidy)


def peek_names(url: str, columns: Columns) -> Iterator[str]:
    """Yield the names of images in a table; rows without one are skipped."""
    table = open_table(url, columns.known)
    for cells in table.read_rows(*columns.choose(table, hide_secrets(url))):
        with contextlib.suppress(Refusal):
            yield read_name(cells.picture)


def name_tables(tables: Sequence[str]) -> list[str]:
    """Names of tables for their rows: of one file its own, of several the paths below their common
    folder.
    """
    shared = posixpath.dirname(tables[0]) if tables else ""
    while not all(table.startswith(shared + "/" if shared else "") for table in tables):
        shared = posixpath.dirname(shared)
    return [table[len(shared) :].lstrip("/") for table in tables]


def read_row(
    cells: Cells, source_row: str, table: str, tidy: Callable[[str, str], str] | None
) -> list[dict[str, Any]]:
    """A row of LISTING, and another one where some captions of its list are refused.

    Args:
        cells: of one row of the table.
        source_row: name of that row.
        table: path or URL of the table.
        tidy: see `read_listing`.
    """
    row: dict[str, Any] = {"picture": source_row, "source_row": source_row, "sha256": ""}
    try:
        if cells.fault:
            raise Refusal("unreadable_file", cells.fault)
        row["picture"] = read_name(cells.picture)
        if tidy:
            row["picture"] = tidy(table, row["picture"])
        captions, refused = read_cell(cells.caption)
        if not captions:
            raise refused or Refusal("no_caption", "caption is missing")
    except Refusal as refusal:
        row["picture"] = one_line(row["picture"], 2000)
        return [row | {"error": str(refusal), "reason": refusal.reason}]
    rows = [row | {"captions": captions}]
    if refused:
        rows.append(row | {"error": str(refused), "reason": refused.reason})
    return rows
