"""Shards: what img2dataset writes, in its forms `webdataset`, `files` and `parquet`, and any
webdataset of pictures (jpg, png, webp) with captions (txt, or caption or text of a json).

A JPEG that needs no change is taken byte for byte, or stays where it is. URL, original size,
sha256 and the outcome of every row are taken from img2dataset's tables where they are; rows that
failed there stay failed rows, with their reason. A damaged tar keeps the samples before the damage.

Forms, and what `path` is:

- a folder of NNNNN.tar, with NNNNN.parquet beside them or without; a pattern of such files, with
  `*` or `{00000..00012}`; several of either joined by `::`;
- a folder of folders NNNNN/ of files, with NNNNN.parquet beside them;
- a folder, or a pattern, of NNNNN.parquet with the pictures in a column (also Hugging Face's).

Samples of one URL are one picture with several captions. A row is called `00012.tar:000120034`:
shard and key; where a table has no keys, its rows are counted from 1.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import pyarrow as pa
from tqdm import tqdm

from captionseg.records import UserError
from captionseg.sources.listing import ListedSource
from captionseg.sources.listing_rows import Row, make_batches
from captionseg.sources.reasons import Refusal
from captionseg.sources.row_merging import merge_pictures
from captionseg.sources.sharded.locations import Location, read_locations, write_locations
from captionseg.sources.sharded.shard_formats import open_shard
from captionseg.sources.source import Place, Sample
from captionseg.sources.tables.pair_columns import CAPTIONS
from captionseg.sources.tables.table_listing import name_tables
from captionseg.storage.remote import (
    find_scheme,
    hide_secrets,
    is_folder,
    join,
    list_entries,
    list_files,
    open_store,
)

log = logging.getLogger(__name__)

ENDS = (".tar", ".parquet")


@dataclass(frozen=True, kw_only=True)
class Shards(ListedSource):
    """Fields of `download.shards`.

    Attributes:
        path: folder or pattern of the shards.
        caption_column: of captions in tables and in the json of a sample. Empty: the first of
            captionseg.sources.tables.pair_columns.CAPTIONS that is there.
        caption_lines: whether the lines of a text are captions of their own (`separate`), or one
            (`joined`), as img2dataset's are.
        in_place: a JPEG that needs no change stays in its tar or folder, and the shard has its
            place. It must be on a disk of this machine.
    """

    path: str = ""
    caption_column: str = ""
    caption_lines: Literal["joined", "separate"] = "joined"
    in_place: bool = False

    KEEPS_JPEG: ClassVar[bool] = True

    @cached_property
    def shards(self) -> dict[str, str]:
        """Name -> URL of a tar, a parquet file with pictures, or a folder, in order.

        Raises:
            UserError: where there is none.
        """
        if not self.path:
            raise UserError("download.shards.path: not set; give the folder of your shards")
        if self.in_place and find_scheme(self.path):
            raise UserError(
                f"download.shards.in_place: {hide_secrets(self.path)} is not on a disk of this "
                "machine; set it to false, and the images are copied"
            )
        if is_folder(self.path):
            urls = self._list_folder()
        else:
            urls = [url for url in list_files(self.path, ENDS) if url.endswith(ENDS)]
            # the tables of tars are read with them
            urls = [url for url in urls if url.endswith(".tar")] or urls
        if not urls:
            raise UserError(
                f"download.shards.path: {hide_secrets(self.path)} holds no shard (NNNNN.tar, "
                "NNNNN.parquet with pictures, or folders NNNNN/ with files)"
            )
        if self.in_place and urls[0].endswith(".parquet"):
            log.warning("download.shards.in_place: images in parquet files are copied")
        return dict(zip(name_tables(urls), urls, strict=True))

    def _list_folder(self) -> list[str]:
        """The shards of a folder, and those of which only the table is left."""
        files, folders = list_entries(self.path)
        stems = {name.removesuffix(".parquet") for name in files if name.endswith(".parquet")}
        tars = {name for name in files if name.endswith(".tar")}
        numbered = {stem for stem in stems if stem.isdigit()}
        if tars:
            names = tars | {f"{stem}.tar" for stem in numbered}
        elif stems and stems.isdisjoint(folders):
            names = {f"{stem}.parquet" for stem in stems}
        else:
            names = numbered | set(folders)
        return [join(self.path, name) for name in sorted(names)]

    def _write_listing(self, folder: Path) -> None:
        # locations are written while rows are listed
        object.__setattr__(self, "listing_folder", str(folder))
        super()._write_listing(folder)

    def list_batches(self) -> Iterator[pa.RecordBatch]:
        """See ListedSource."""
        return merge_pictures(make_batches(self._list_rows()))

    def _list_rows(self) -> Iterator[dict[str, Any]]:
        names = [self.caption_column] if self.caption_column else CAPTIONS
        joined = self.caption_lines == "joined"
        for number, (name, url) in enumerate(tqdm(self.shards.items(), "listing", unit="shard")):
            locations = []
            for row, location in open_shard(url).list_rows(name, names, joined=joined):
                yield row
                locations += [location] if location else []
            write_locations(locations, self._location_file(number))

    def _location_file(self, number: int) -> str:
        return str(Path(self.listing_folder) / f"{number:05d}.locations")

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Name of a shard -> its number in their order."""
        return {name: number for number, name in enumerate(self.shards)}

    def find_location(self, source_row: str) -> tuple[str, Location]:
        """Name of the shard of a row, and the location of its image there."""
        name, _, key = source_row.partition(":")
        while name not in self.shards:
            part, _, key = key.partition(":")
            name = f"{name}:{part}"
        return name, read_locations(self._location_file(self.numbers[name]), self.listing)[key]

    def read(self, rows: Sequence[Row]) -> Iterator[bytes | Refusal]:
        """See ListedSource."""
        located = (self.find_location(row.source_row) for row in rows)
        for name, group in itertools.groupby(located, key=lambda pair: pair[0]):
            yield from open_shard(self.shards[name]).read([location for _, location in group])

    def samples(self, split: str, numbers: Sequence[int], *, seed: int) -> list[Sample]:
        """See Source; size and sha256 of the original are those that img2dataset wrote down."""
        return [self._add_original(sample) for sample in super().samples(split, numbers, seed=seed)]

    def _add_original(self, sample: Sample) -> Sample:
        if sample.jpeg is None:
            return sample
        name, location = self.find_location(sample.source_row)
        unchanged = hashlib.sha256(sample.jpeg).hexdigest() == sample.original_sha256
        return replace(
            sample,
            place=find_place(self.shards[name], location) if self.in_place and unchanged else None,
            original_width=location.original_width or sample.original_width,
            original_height=location.original_height or sample.original_height,
            original_sha256=location.original_sha256 or sample.original_sha256,
        )


def find_place(url: str, location: Location) -> Place | None:
    """The place of the image of a sample; None in a table, which may have packed it.

    Args:
        url: of its shard.
        location: of the image there.
    """
    path = Path(open_store(url)[1])  # absolute
    if url.endswith(".tar"):
        return Place(str(path), location.start, location.size)
    if url.endswith(".parquet"):
        return None
    file = path / location.member
    return Place(str(file), 0, file.stat().st_size)
