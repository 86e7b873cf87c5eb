"""A list of URLs with captions: CSV, TSV, TXT, JSON, JSON lines or parquet, also as .gz, as
img2dataset takes them.

Conceptual Captions' files of two columns are read as they come: CC3M's have the caption first,
CC12M's the URL; which column holds URLs is seen from the first rows, and said. Rows of one URL are
one picture with several captions.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from captionseg.records import UserError
from captionseg.sources.fetching.params import HttpParams
from captionseg.sources.listing import ListedSource
from captionseg.sources.listing_rows import Row
from captionseg.sources.reasons import Refusal
from captionseg.sources.tables.pair_columns import URLS, Columns
from captionseg.storage.remote import list_files


@dataclass(frozen=True, kw_only=True)
class Urls(ListedSource):
    """Fields of `download.urls`, beside those of ListedSource.

    Attributes:
        path: of the list; a pattern with `*` or `{a,b}` for several.
        picture_column, caption_column: names of columns, or numbers from 1 in a file without a
            header. Empty: the first of URLS and of CAPTIONS
            (captionseg.sources.tables.pair_columns) that the file has.
        http: how the pictures are asked for. It decides which of them arrive, but not what is in
            them, so shards stay when it changes.
        workers: no parameter; processes that share the connections.
    """

    path: str = ""
    picture_column: str = ""
    caption_column: str = ""
    http: HttpParams = field(default_factory=HttpParams, repr=False)
    workers: int = field(default=1, init=False, repr=False, compare=False)

    def list_batches(self) -> Iterator[pa.RecordBatch]:
        """See ListedSource; nothing is asked for yet."""
        if not self.path:
            raise UserError(
                "download.urls.path: not set; give the file with your URLs and captions"
            )
        # it brings pandas, which the processes that fetch have no use for
        from captionseg.sources.tables.table_listing import read_listing

        columns = Columns("download.urls", self.picture_column, self.caption_column, URLS)
        return read_listing(list_files(self.path), columns)

    def read(self, rows: Sequence[Row]) -> Iterator[bytes | Refusal]:
        """See ListedSource."""
        # it brings aiohttp, which stages that only name a source have no use for
        from captionseg.sources.fetching.fetch import fetch

        return fetch([row.picture for row in rows], self.http, workers=self.workers)

    def max_workers(self) -> int:
        """See SharedSource."""
        return min(self.http.connections, self.http.connections_per_host)

    def share(self, workers: int) -> Urls:
        """See SharedSource."""
        shared = copy.copy(self)
        object.__setattr__(shared, "workers", workers)
        return shared
