"""The files of a sample and its row in img2dataset's table -> a row of a listing."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from captionseg.records import one_line
from captionseg.sources.caption_text import read_captions
from captionseg.sources.reasons import Refusal
from captionseg.sources.sharded.img2dataset_table import explain_failure
from captionseg.sources.sharded.locations import Location
from captionseg.sources.sharded.members import LARGEST_TEXT, PICTURES, TEXTS, Files, Member
from captionseg.sources.tables.cells import read_cell, read_name

SHA256 = re.compile(r"[0-9a-f]{64}")
ReadMember = Callable[[Member], bytes]
ListedRow = tuple[dict[str, Any], Location | None]
"""A row of LISTING, and the location of its image."""


class SampleReader:
    """Makes rows of LISTING from the samples of a shard.

    Args:
        shard: its name.
        read: returns the bytes of one of its files.
        caption_names: columns or json keys that may hold captions, the first that is there.
        joined: whether the lines of a text file are one caption.
    """

    def __init__(
        self, shard: str, read: ReadMember, caption_names: Sequence[str], *, joined: bool
    ) -> None:
        self.shard, self.read = shard, read
        self.caption_names, self.joined = caption_names, joined

    def list_rows(self, files: Files, records: Iterable[dict[str, Any]]) -> Iterator[ListedRow]:
        """Yield all rows: those of the table in its order, then samples that it does not have, then
        files that are refused.
        """
        seen: set[str] = set()
        for record in records:
            key = str(record.get("key"))
            if key in seen:
                yield self.refuse(key, Refusal("duplicate_key", "a second row of this key")), None
                continue
            seen.add(key)
            yield from self.list_sample(key, files.samples.get(key, {}), record)
        for key, members in files.samples.items():
            if key not in seen and not members.keys().isdisjoint({*PICTURES, *TEXTS, "json"}):
                yield from self.list_sample(key, members, None)
        for member in files.refused:
            assert member.refusal is not None
            yield self.refuse(member.name, member.refusal), None

    def refuse(self, name: str, refusal: Refusal) -> dict[str, Any]:
        """A row for a file that is refused."""
        row = one_line(f"{self.shard}:{name}".rstrip(":"), 2000)
        error = {"error": str(refusal), "reason": refusal.reason}
        return {"picture": row, "source_row": row, "sha256": ""} | error

    def list_sample(
        self, key: str, members: Mapping[str, Member], record: dict[str, Any] | None
    ) -> Iterator[ListedRow]:
        """Yield the row of a sample, and another one where some of its captions are refused.

        Args:
            key: of the sample.
            members: suffix -> file.
            record: its row in the table, if there is one.
        """
        source_row = f"{self.shard}:{key}"
        row: dict[str, Any] = {"picture": source_row, "source_row": source_row, "sha256": ""}
        metadata = self.read_json(members) if record is None else record
        with contextlib.suppress(Refusal):
            row["picture"] = read_name(metadata.get("url"))
        picture = next((members[suffix] for suffix in PICTURES if suffix in members), None)
        row["captions"], refused = self.read_captions(members, record, metadata)
        if failure := explain_failure(metadata):
            refused = failure
        elif picture is None and record is not None:
            refused = Refusal("damaged_archive", "in the table, but not in the shard")
        elif picture is None:
            refused = Refusal("no_picture", "it has no picture")
        elif row["captions"]:
            yield row, make_location(key, picture, metadata)
            row = row | {"captions": []}
        if refused:
            yield row | {"error": str(refused), "reason": refused.reason}, None

    def read_json(self, members: Mapping[str, Member]) -> dict[str, Any]:
        """The object in the json of a sample; empty where there is none, or it is not valid."""
        if "json" not in members or members["json"].size > LARGEST_TEXT:
            return {}
        try:
            metadata = json.loads(self.read(members["json"]))
        except (Refusal, ValueError, RecursionError):
            return {}
        return metadata if isinstance(metadata, dict) else {}

    def read_captions(
        self, members: Mapping[str, Member], record: dict[str, Any] | None, metadata: dict[str, Any]
    ) -> tuple[list[str], Refusal | None]:
        """The captions of the table, else of the text file, else of the json; and why some are
        refused, or why there are none.
        """
        refused: Refusal | None = None
        if record is not None and record.get("captions") is not None:
            captions, refused = read_cell(record["captions"])
            if captions:
                return captions, refused
        for suffix in TEXTS:
            if suffix in members:
                captions, refused = self.read_text(members[suffix])
                if captions:
                    return captions, refused
        metadata = metadata if record is None else self.read_json(members)
        for name in self.caption_names:
            if metadata.get(name) is not None:
                captions, refused = read_cell(metadata[name])
                if captions:
                    return captions, refused
        return [], refused or Refusal("no_caption", "it has no caption")

    def read_text(self, member: Member) -> tuple[list[str], Refusal | None]:
        """The captions of a text file, and why some are refused."""
        try:
            data = b"" if member.size > LARGEST_TEXT else self.read(member)
            if max(member.size, len(data)) > LARGEST_TEXT:
                text = f"caption of more than {LARGEST_TEXT // 2**20} MiB"
                raise Refusal("bad_caption", text)
            captions, reason = read_captions(data, joined=self.joined)
        except Refusal as refusal:
            return [], refusal
        return captions, Refusal("bad_caption", reason) if reason else None


def make_location(key: str, picture: Member, metadata: Mapping[str, Any]) -> Location:
    """The location of an image, with what img2dataset recorded of the original."""
    width, height = (metadata.get(f"original_{side}") for side in ("width", "height"))
    if not all(isinstance(size, int) and 0 < size < 2**31 for size in (width, height)):
        width = height = None
    digest = metadata.get("sha256")
    is_digest = isinstance(digest, str) and SHA256.fullmatch(digest)
    name, start, size = picture.name, picture.start, picture.size
    return Location(key, start, size, name, width, height, digest if is_digest else None)
