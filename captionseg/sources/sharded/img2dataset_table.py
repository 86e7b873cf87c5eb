"""img2dataset's table of a shard: its rows, their outcomes, and the images themselves in the output
format `parquet`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from captionseg.records import one_line
from captionseg.sources.reasons import Refusal
from captionseg.sources.sharded.members import PICTURES
from captionseg.sources.tables.pair_columns import URLS
from captionseg.sources.tables.table_formats import iterate_parquet, open_parquet

OWN = ("key", "status", "error_message", "original_width", "original_height", "sha256")
"""Columns that img2dataset adds to those of its input."""
IMAGES = (*PICTURES, "image", "img", "image_bytes", "bytes")
"""Names of columns of images, as bytes or as Hugging Face's {bytes, path}."""

FAILURES = (
    (r"http error 40[13]|http error 451|forbidden|unauthori", "forbidden"),
    (r"http error 4(04|10)", "not_found"),
    (r"http error 429", "rate_limited"),
    (r"http error 5", "server_error"),
    (r"http error", "http_error"),
    (r"robots|disallowed", "opted_out"),
    (r"timed? ?out", "timed_out"),
    (r"name or service|getaddrinfo|name resolution|no address|nodename", "unknown_host"),
    (r"ssl|certificate|tls", "tls_failed"),
    (r"refused|reset|unreachable|connection|remote end|no route", "connection_failed"),
    (r"redirect", "too_many_redirects"),
    (r"unknown url type|bad url|url can't|no host", "bad_url"),
    (r"decod|cannot identify|corrupt", "not_decodable"),
    (r"too small", "too_small"),
    (r"incomplete|truncated", "truncated"),
)
"""Pattern of its error messages, in lower case -> reason."""


def read_records(url: str, caption_names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table of img2dataset without images: those of the columns OWN, `url` and
    `captions` that it has.

    Args:
        url: of the file.
        caption_names: of the column of captions, the first that is there.

    Raises:
        UserError: if it cannot be read.
    """
    with open_parquet(url) as file:
        columns = file.schema_arrow.names
        selected = {name: name for name in OWN if name in columns}
        for name, common in (("url", URLS), ("captions", caption_names)):
            present = [column for column in common if column in columns]
            selected |= {name: present[0]} if present else {}
        if not selected:  # rows are counted by some column
            selected = {"": columns[0]}
        yield from iterate_parquet(file, selected)


def find_images(url: str) -> str:
    """The column of a parquet file that holds images; empty if there is none.

    Raises:
        UserError: where it cannot be read.
    """
    with open_parquet(url) as file:
        schema = file.schema_arrow
    for name in IMAGES:
        index = schema.get_field_index(name)
        column_type = schema.types[index] if index >= 0 else pa.null()
        if pa.types.is_struct(column_type) and column_type.get_field_index("bytes") >= 0:
            column_type = column_type.field("bytes").type
        if pa.types.is_binary(column_type) or pa.types.is_large_binary(column_type):
            return name
    return ""


def read_images(url: str, column: str, numbers: Sequence[int]) -> Iterator[bytes | None]:
    """Yield the images of some rows, None where a row has none; one row group is in memory.

    Args:
        url: of the file.
        column: by `find_images`.
        numbers: of rows, from 0.
    """
    with open_parquet(url) as file:
        starts = [0]
        for group in range(file.num_row_groups):
            starts.append(starts[-1] + file.metadata.row_group(group).num_rows)
        loaded, images = -1, pa.chunked_array([pa.array([])])
        for number in numbers:
            group = next(g for g, start in enumerate(starts[1:]) if number < start)
            if group != loaded:
                loaded, images = group, file.read_row_group(group, columns=[column])[column]
            value = images[number - starts[group]].as_py()
            yield value.get("bytes") if isinstance(value, dict) else value


def explain_failure(record: dict[str, Any]) -> Refusal | None:
    """Why img2dataset has no image for a row; None if it has one."""
    status = record.get("status") or "success"
    if status == "success":
        return None
    message = one_line(record.get("error_message") or status)
    for pattern, reason in FAILURES:
        if re.search(pattern, message.lower()):
            return Refusal(reason, message)
    return Refusal("other", message)
