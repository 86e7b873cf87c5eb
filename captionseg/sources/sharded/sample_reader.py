"""The files of a sample, and the row of img2dataset's table about it -> a row of a listing."""

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
from captionseg.sources.sharded.locations import Place
from captionseg.sources.sharded.members import LARGEST_TEXT, PICTURES, TEXTS, Files, Member
from captionseg.sources.tables.cells import read_cell, read_name

SHA256 = re.compile(r"[0-9a-f]{64}")
Read = Callable[[Member], bytes]
Listed = tuple[dict[str, Any], Place | None]
"""A row of LISTING, and where its picture lies."""


class SampleReader:
    """Makes rows of LISTING of the samples of a shard.

    Args:
        shard: its name.
        read: gives the bytes of a file of it.
        caption_names: of captions in tables and in a json, the first that is there.
        joined: whether the lines of a text are one caption.
    """

    def __init__(
        self, shard: str, read: Read, caption_names: Sequence[str], *, joined: bool
    ) -> None:
        self.shard, self.read = shard, read
        self.caption_names, self.joined = caption_names, joined

    def list_rows(self, files: Files, records: Iterable[dict[str, Any]]) -> Iterator[Listed]:
        """All rows: those of the table in its order, then samples that it does not have, then what
        is not taken.
        """
        seen: set[str] = set()
        for record in records:
            key = str(record.get("key"))
            if key in seen:
                yield self.refuse(key, Refusal("duplicate_key", "a second row of this key")), None
                continue
            seen.add(key)
            yield from self.list_sample(key, files.samples.get(key, {}), record)
        for key, found in files.samples.items():
            if key not in seen and not found.keys().isdisjoint({*PICTURES, *TEXTS, "json"}):
                yield from self.list_sample(key, found, None)
        for member in files.refused:
            assert member.refusal is not None
            yield self.refuse(member.name, member.refusal), None

    def refuse(self, name: str, refusal: Refusal) -> dict[str, Any]:
        """A row of what is not taken."""
        row = one_line(f"{self.shard}:{name}".rstrip(":"), 2000)
        error = {"error": str(refusal), "reason": refusal.reason}
        return {"picture": row, "source_row": row, "sha256": ""} | error

    def list_sample(
        self, key: str, found: Mapping[str, Member], record: dict[str, Any] | None
    ) -> Iterator[Listed]:
        """The row of a sample, and another one where some of its captions are refused.

        Args:
            key: of it.
            found: suffix -> file.
            record: its row in the table, if there is one.
        """
        source_row = f"{self.shard}:{key}"
        row: dict[str, Any] = {"picture": source_row, "source_row": source_row, "sha256": ""}
        about = self.read_json(found) if record is None else record
        with contextlib.suppress(Refusal):
            row["picture"] = read_name(about.get("url"))
        picture = next((found[suffix] for suffix in PICTURES if suffix in found), None)
        row["captions"], refused = self.read_captions(found, record, about)
        if failure := explain_failure(about):
            refused = failure
        elif picture is None and record is not None:
            refused = Refusal("damaged_archive", "in the table, but not in the shard")
        elif picture is None:
            refused = Refusal("no_picture", "it has no picture")
        elif row["captions"]:
            yield row, make_place(key, picture, about)
            row = row | {"captions": []}
        if refused:
            yield row | {"error": str(refused), "reason": refused.reason}, None

    def read_json(self, found: Mapping[str, Member]) -> dict[str, Any]:
        """What the json of a sample says; nothing where it has none, or one that is none."""
        if "json" not in found or found["json"].size > LARGEST_TEXT:
            return {}
        try:
            about = json.loads(self.read(found["json"]))
        except (Refusal, ValueError, RecursionError):
            return {}
        return about if isinstance(about, dict) else {}

    def read_captions(
        self, found: Mapping[str, Member], record: dict[str, Any] | None, about: dict[str, Any]
    ) -> tuple[list[str], Refusal | None]:
        """The captions of the table, else of the text, else of the json; and what is to be said of
        those that are refused, or of there being none.
        """
        refused: Refusal | None = None
        if record is not None and record.get("captions") is not None:
            captions, refused = read_cell(record["captions"])
            if captions:
                return captions, refused
        for suffix in TEXTS:
            if suffix in found:
                captions, refused = self.read_text(found[suffix])
                if captions:
                    return captions, refused
        about = about if record is None else self.read_json(found)
        for name in self.caption_names:
            if about.get(name) is not None:
                captions, refused = read_cell(about[name])
                if captions:
                    return captions, refused
        return [], refused or Refusal("no_caption", "it has no caption")

    def read_text(self, member: Member) -> tuple[list[str], Refusal | None]:
        """The captions of a text, and what is to be said of those that are refused."""
        try:
            data = b"" if member.size > LARGEST_TEXT else self.read(member)
            if max(member.size, len(data)) > LARGEST_TEXT:
                text = f"caption of more than {LARGEST_TEXT // 2**20} MiB"
                raise Refusal("bad_caption", text)
            captions, said = read_captions(data, joined=self.joined)
        except Refusal as refusal:
            return [], refusal
        return captions, Refusal("bad_caption", said) if said else None


def make_place(key: str, picture: Member, about: Mapping[str, Any]) -> Place:
    """Where a picture lies, with what is known of it as it came."""
    width, height = (about.get(f"original_{side}") for side in ("width", "height"))
    if not all(isinstance(size, int) and 0 < size < 2**31 for size in (width, height)):
        width = height = None
    digest = about.get("sha256")
    known = isinstance(digest, str) and SHA256.fullmatch(digest)
    name, start, size = picture.name, picture.start, picture.size
    return Place(key, start, size, name, width, height, digest if known else None)
