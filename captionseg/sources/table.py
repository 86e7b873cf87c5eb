"""A table of captions beside pictures: CSV, TSV, TXT, JSON, JSON lines or parquet, also as .gz.

Layouts that are read as they are:

- Kaggle's Flickr8k and Flickr30k: `captions.txt` (or `results.csv`) and a folder `Images/`, a row
  per caption;
- Hugging Face's imagefolder: `metadata.csv`, `.jsonl` or `.parquet` beside the pictures, with
  columns `file_name` and `text`;
- Karpathy's splits: an object with a list `images` of `filename` and `sentences`.

Columns are found by their names. Rows of one picture are one picture with several captions,
wherever they stand.
"""

from __future__ import annotations

import itertools
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from captionseg.records import UserError
from captionseg.sources.folders.picture_files import (
    add_suffix,
    find_folder,
    read_pictures,
    tidy_path,
)
from captionseg.sources.listing import ListedSource
from captionseg.sources.listing_rows import Row
from captionseg.sources.reasons import Refusal
from captionseg.sources.tables.pair_columns import Columns
from captionseg.sources.tables.table_formats import SUFFIXES
from captionseg.sources.tables.table_listing import name_tables, peek_names, read_listing
from captionseg.storage.remote import hide_secrets, is_folder, join, list_entries, list_files

STEMS = ("captions", "metadata", "results")
"""Names of tables that are found in a folder."""
PEEKED = 20  # pictures of a table by which their folder is found


@dataclass(frozen=True, kw_only=True)
class Table(ListedSource):
    """Fields of `download.table`.

    Attributes:
        path: the table, or its folder where it is called captions or metadata; a pattern with `*`
            or `{a,b}` for several.
        images: folder that the names of pictures start from. Empty: the table's own, or a folder
            in it, wherever the first pictures are.
        picture_column, caption_column: names of columns, or numbers from 1 in a file without a
            header. Empty: the first of FILES and of CAPTIONS
            (captionseg.sources.tables.pair_columns) that the file has.
        suffix: of pictures that the table names without one, such as .jpg.
    """

    path: str = ""
    images: str = ""
    picture_column: str = ""
    caption_column: str = ""
    suffix: str = ""

    @property
    def columns(self) -> Columns:
        """The columns to read."""
        return Columns("download.table", self.picture_column, self.caption_column)

    @cached_property
    def tables(self) -> list[str]:
        """Paths or URLs of the tables.

        Raises:
            UserError: if there is none, or several where one is needed.
        """
        if not self.path:
            raise UserError("download.table.path: not set; give the table with your captions")
        if not is_folder(self.path):
            return list_files(self.path)
        names = [name for name in list_entries(self.path)[0] if name.lower().endswith(ENDS)]
        candidates = [name for name in names if name.lower().startswith(STEMS)] or names
        if len(candidates) != 1:
            problem = f"several tables ({', '.join(candidates[:5])})" if candidates else "no table"
            raise UserError(
                f"download.table.path: {hide_secrets(self.path)} holds {problem}; give the file"
            )
        return [join(self.path, candidates[0])]

    @cached_property
    def root(self) -> str:
        """The folder that paths of images start from: `images`, or the tables' common folder."""
        if self.images:
            return self.images.rstrip("/") or "/"
        table, name = self.tables[0], name_tables(self.tables)[0]
        return table[: len(table) - len(name)].rstrip("/") or ("/" if table[0] == "/" else ".")

    def list_batches(self) -> Iterator[pa.RecordBatch]:
        """See ListedSource."""
        bases = dict(zip(self.tables, self.find_bases(), strict=True))

        def tidy(table: str, name: str) -> str:
            return tidy_path(add_suffix(name, self.suffix), bases[table], self.root)

        return read_listing(self.tables, self.columns, tidy=tidy)

    def find_bases(self) -> list[str]:
        """The folder of the images of each table, as a path below root.

        Raises:
            UserError: where none of the first pictures of the first table is found.
        """
        if self.images:
            return [""] * len(self.tables)
        bases = [posixpath.dirname(name) for name in name_tables(self.tables)]
        inner = self.find_inner(join(self.root, bases[0]) if bases[0] else self.root)
        return [posixpath.join(base, inner) for base in bases]

    def find_inner(self, own_folder: str) -> str:
        """The subfolder of the table's folder that has its images; empty for that folder itself."""
        names = []
        for name in itertools.islice(peek_names(self.tables[0], self.columns), PEEKED):
            try:
                names.append(tidy_path(add_suffix(name, self.suffix), "", own_folder))
            except Refusal:
                continue
        if find_folder(names, [own_folder]):
            return ""
        inner = list_entries(own_folder)[1]
        folder_url = find_folder(names, [join(own_folder, folder) for folder in inner])
        if folder_url is None:
            raise UserError(
                f"download.table: the first pictures of {hide_secrets(self.tables[0])} "
                f"({', '.join(names[:3]) or 'none has a name'}) are neither beside it nor in a "
                "folder beside it; set download.table.images to their folder"
            )
        return posixpath.basename(folder_url)

    def read(self, rows: Sequence[Row]) -> Iterator[bytes | Refusal]:
        """See ListedSource."""
        return read_pictures(self.root, [row.picture for row in rows])


ENDS = (*SUFFIXES, *(f"{suffix}.gz" for suffix in SUFFIXES))
