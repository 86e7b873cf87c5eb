"""COCO's captions: an annotation file such as `captions_train2017.json`, and the folder of images.

The file has the lists `images` ({id, file_name, license, coco_url}), `annotations` ({id, image_id,
caption}) and `licenses` ({id, name, url}). The captions of an image are those of all annotations
with its id. The file is read object by object; 200 bytes per image stay in memory.

A row is named after its image, `captions_train2017.json:391895`, or after its annotation if the
file has no such image.
"""

from __future__ import annotations

import contextlib
import csv
import io
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from captionseg.records import UserError, one_line
from captionseg.sources.folders.picture_files import find_folder, read_pictures, tidy_path
from captionseg.sources.listing import ListedSource
from captionseg.sources.listing_rows import Row, make_batches
from captionseg.sources.reasons import Refusal
from captionseg.sources.row_merging import merge_pictures
from captionseg.sources.tables.cells import read_caption
from captionseg.storage.json_items import JsonItems
from captionseg.storage.remote import explain_errors, hide_secrets, join, open_plain

PEEKED = 20  # images to find their folder by
LICENCE_COLUMNS = ("picture", "licence", "licence_url", "coco_url", "flickr_url")


@dataclass(frozen=True, kw_only=True)
class CocoCaptions(ListedSource):
    """Fields of `download.coco_captions`.

    Attributes:
        annotations: the JSON file, also as .gz.
        images: folder of the images. Empty: found where COCO's archives put it, such as
            `train2017/` beside `annotations/`.
    """

    annotations: str = ""
    images: str = ""

    def read_items(self, *keys: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the objects of some lists of the file, in its order.

        Raises:
            UserError: if there is no file, or it is not one of COCO's.
        """
        if not self.annotations:
            raise UserError(
                "download.coco_captions.annotations: not set; give a file such as "
                "annotations/captions_train2017.json"
            )
        with open_plain(self.annotations) as stream, explain_errors(self.annotations):
            for key, item in JsonItems(stream):
                if key in keys and isinstance(item, dict):
                    yield key, item

    @cached_property
    def root(self) -> str:
        """The folder of the images.

        Raises:
            UserError: if it is not found.
        """
        if self.images:
            return self.images.rstrip("/") or "/"
        file = self.annotations
        own_folder = posixpath.dirname(file) or "."
        parent = posixpath.dirname(own_folder) or ("." if own_folder != "." else "..")
        name = posixpath.basename(file).split(".")[0].rpartition("_")[2]
        folders = [
            own_folder,
            join(own_folder, name),
            join(parent, name),
            join(parent, "images", name),
        ]
        folders += [join(parent, "images"), join(own_folder, "images")]
        names = []
        for _, item in self.read_items("images"):
            with contextlib.suppress(Refusal):  # or a hostile name would choose the folder
                names.append(tidy_path(str(item.get("file_name")), "", own_folder))
            if len(names) == PEEKED:
                break
        if (folder := find_folder(names, folders)) is None:
            raise UserError(
                f"download.coco_captions: the first images of {hide_secrets(file)} "
                f"({', '.join(names[:3]) or 'it has none'}) are not in {name}/ beside "
                "annotations/; set download.coco_captions.images to their folder"
            )
        return folder

    def list_batches(self) -> Iterator[pa.RecordBatch]:
        """See ListedSource."""
        return merge_pictures(make_batches(self._list_rows()))

    def _list_rows(self) -> Iterator[dict[str, Any]]:
        """Yield a row without captions for each image, then one with a caption for each
        annotation.
        """
        file = posixpath.basename(self.annotations)
        paths: dict[Any, str] = {}
        for _, item in self.read_items("images"):
            yield list_image(item, file, self.root, paths)
        captions = 0
        for _, item in self.read_items("annotations"):
            yield list_annotation(item, file, paths)
            captions += "caption" in item
        if not paths or not captions:
            raise UserError(
                f"{hide_secrets(self.annotations)}: has no {'captions' if paths else 'images'}; "
                "give one of COCO's captions_*.json"
            )

    def read(self, rows: Sequence[Row]) -> Iterator[bytes | Refusal]:
        """See ListedSource."""
        return read_pictures(self.root, [row.picture for row in rows])

    def licences(self) -> str:
        """See Source: the licence of each image that has one, and where it came from."""
        licences = {item.get("id"): item for _, item in self.read_items("licenses")}
        writer = csv.writer(text := io.StringIO(), lineterminator="\n")
        writer.writerow(LICENCE_COLUMNS)
        for _, item in self.read_items("images"):
            licence = licences.get(item.get("license"), {})
            fields = (licence.get("name"), licence.get("url"))
            fields += (item.get("coco_url"), item.get("flickr_url"))
            if any(fields):
                writer.writerow([one_line(v or "") for v in (item.get("file_name"), *fields)])
        return text.getvalue() if text.tell() > len(",".join(LICENCE_COLUMNS)) + 1 else ""


def list_image(item: dict[str, Any], file: str, root: str, paths: dict[Any, str]) -> dict[str, Any]:
    """The row of LISTING of an image; its path is added to `paths` under its id."""
    number, name = item.get("id"), item.get("file_name")
    source_row = one_line(f"{file}:{number}")
    row = {"picture": source_row, "captions": [], "source_row": source_row, "sha256": ""}
    try:
        if not isinstance(number, int | str) or not isinstance(name, str) or not name:
            raise Refusal("no_picture", "the image has no id or no file_name")
        row["picture"] = one_line(name, 2000)
        path = tidy_path(name, "", root)
        path.encode()
        if paths.setdefault(number, path) != path:
            row["picture"] = source_row
            raise Refusal("duplicate_key", f"an earlier image has id {number} too")
        row["picture"] = path
    except Refusal as refusal:
        row |= {"error": str(refusal), "reason": refusal.reason}
    except UnicodeEncodeError:
        row |= {"error": "its file_name is not UTF-8", "reason": "no_picture"}
    return row


def list_annotation(item: dict[str, Any], file: str, paths: dict[Any, str]) -> dict[str, Any]:
    """The row of LISTING of an annotation; `paths` is image id -> path."""
    number = item.get("image_id")
    path = paths.get(number) if isinstance(number, int | str) else None
    source_row = one_line(f"{file}:{number}" if path else f"{file}:annotation {item.get('id')}")
    row: dict[str, Any] = {"picture": path or source_row, "source_row": source_row, "sha256": ""}
    try:
        if path is None:
            raise Refusal("no_picture", f"no image of the file has its image_id, {number}")
        row["captions"] = [read_caption(item.get("caption"))]
    except Refusal as refusal:
        row |= {"error": str(refusal), "reason": refusal.reason}
    return row
