"""A folder of image files, each with a text file of the same name beside it: one caption per line.

An image or caption that cannot be used keeps its row, with the reason. Hidden files (a dot in
front) and files that are neither image nor caption are ignored. DVC does not watch the folder:
after changing it run `dvc repro --force download`, or add it to the stage's deps.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from tqdm import tqdm

from captionseg.records import UserError, one_line
from captionseg.sources.caption_text import read_captions
from captionseg.sources.folders.pairing import PairedFile, walk_files
from captionseg.sources.folders.picture_files import SUFFIXES, read_contents
from captionseg.sources.listing import ListedSource
from captionseg.sources.listing_rows import Row, make_batch
from captionseg.sources.reasons import Refusal

LARGEST_PICTURE = 256 * 2**20  # bytes
LARGEST_CAPTION = 2**20  # bytes
BATCH = 1000  # files


@dataclass(frozen=True)
class Folder(ListedSource):
    """Fields of `download.folder`, beside those of ListedSource.

    Attributes:
        root: the folder; pictures are searched for in its subfolders too.
        caption_suffix: what a caption's file name has in place of the picture's suffix, or after
            it.
        caption_lines: whether the lines of a file are captions of their own (`separate`), of which
            `captions` chooses, or one (`joined`).
    """

    root: str = ""
    caption_suffix: str = ".txt"
    caption_lines: Literal["separate", "joined"] = "separate"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.caption_suffix.startswith(".") or self.caption_suffix.lower() in SUFFIXES:
            raise ValueError(
                "caption_suffix needs a dot and must not be a picture's, found "
                f"{self.caption_suffix!r}"
            )

    def list_batches(self) -> Iterator[pa.RecordBatch]:
        """See ListedSource; ordered by path.

        An image with the same bytes as an earlier one is refused, unless that one was refused too.
        """
        root, first_paths = Path(self.root).expanduser(), {}
        if not self.root or not root.is_dir():
            raise UserError(
                f"download.folder.root: {self.root!r} is no folder; give the one with your "
                "pictures and captions"
            )
        files = sorted(walk_files(root, self.caption_suffix), key=lambda file: file.path)
        if not files:
            raise UserError(
                f"download.folder.root: {self.root!r} holds no picture; put pictures and captions "
                "there"
            )
        joined = self.caption_lines == "joined"
        with tqdm(total=len(files), desc="listing", unit="file") as bar:
            for start in range(0, len(files), BATCH):
                batch = files[start : start + BATCH]
                rows = [row for file in batch for row in list_file(root, file, joined=joined)]
                yield make_batch([refuse_duplicate(row, first_paths) for row in rows])
                bar.update(len(batch))

    def read(self, rows: Sequence[Row]) -> Iterator[bytes | Refusal]:
        """See ListedSource."""
        top = Path(self.root).expanduser()
        for row in rows:
            try:
                yield read_contents(top, find_path(top, row.picture), LARGEST_PICTURE)
            except Refusal as refusal:
                yield refusal


def list_file(top: Path, file: PairedFile, *, joined: bool) -> list[dict[str, Any]]:
    """Rows of LISTING: one for an image with its captions, and one for captions that are refused.

    Args:
        top: the folder.
        file: in it.
        joined: the lines of a caption file are one caption.
    """
    name = escape_name(file.path)
    row: dict[str, Any] = {"picture": name, "source_row": name, "sha256": ""}
    try:
        if file.refusal:
            raise file.refusal
        data = read_contents(top, file.path, LARGEST_PICTURE)
        row["sha256"] = hashlib.sha256(data).hexdigest()
        if not file.caption:
            text = "caption missing: no text file of the same name beside it"
            raise Refusal("no_caption", text)
        lines = read_contents(top, file.caption, LARGEST_CAPTION, what="caption ")
        captions, refused = read_captions(lines, joined=joined)
        if not data:
            return [row | {"captions": captions[:1], "error": "empty file", "reason": "empty"}]
    except Refusal as refusal:
        return [row | {"error": str(refusal), "reason": refusal.reason}]
    rows = [row | {"captions": captions}]
    return [*rows, row | {"error": refused, "reason": "bad_caption"}] if refused else rows


def refuse_duplicate(row: dict[str, Any], first_paths: dict[str, str]) -> dict[str, Any]:
    """A row, refused if an earlier row has the same bytes.

    Args:
        row: of LISTING.
        first_paths: hash -> path of the first file with it; the row is added.
    """
    if (
        row.get("error")
        or (first := first_paths.setdefault(row["sha256"], row["picture"])) == row["picture"]
    ):
        return row
    return row | {"error": one_line(f"duplicate of {first}"), "reason": "duplicate_picture"}


def escape_name(path: str) -> str:
    """A path as valid Unicode, which names of files need not be."""
    return path.encode("utf-8", "backslashreplace").decode()


def find_path(top: Path, name: str) -> str:
    """The inverse of `escape_name`, for a file below `top`."""
    if os.path.lexists(top / name):
        return name
    return re.sub(r"\\udc([89a-f][0-9a-f])", lambda match: chr(0xDC00 + int(match[1], 16)), name)
