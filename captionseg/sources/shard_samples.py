"""The files of a sample, and the row of img2dataset's table about it -> a row of a listing."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from captionseg.records import one_line
from captionseg.sources.captions import read_captions
from captionseg.sources.places import Place
from captionseg.sources.reasons import Refusal
from captionseg.sources.shard_files import LARGEST_TEXT, PICTURES, TEXTS, Files, Member
from captionseg.sources.shard_tables import explain_failure
from captionseg.sources.tables import read_cell, read_name

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
            yield self.list_sample(key, files.samples.get(key, {}), record)
        for key, found in files.samples.items():
            if key not in seen and not found.keys().isdisjoint({*PICTURES, *TEXTS, "json"}):
                yield self.list_sample(key, found, None)
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
    ) -> Listed:
        """The row of a sample.

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
        try:
            captions, refused = self.read_captions(found, record, about)
            row["captions"] = captions
            if failure := explain_failure(about):
                raise failure
            if picture is None and record is not None:
                raise Refusal("damaged_archive", "in the table, but not in the shard")
            if picture is None:
                raise Refusal("no_picture", "it has no picture")
            if not captions:
                raise refused
        except Refusal as refusal:
            return row | {"error": str(refusal), "reason": refusal.reason}, None
        return row, make_place(key, picture, about)

    def read_json(self, found: Mapping[str, Member]) -> dict[str, Any]:
        """What the json of a sample says; nothing where it has none, or one that is none."""
        if "json" not in found or found["json"].size > LARGEST_TEXT:
            return {}
        try:
            about = json.loads(self.read(found["json"]))
        except (ValueError, RecursionError):
            return {}
        return about if isinstance(about, dict) else {}

    def read_captions(
        self, found: Mapping[str, Member], record: dict[str, Any] | None, about: dict[str, Any]
    ) -> tuple[list[str], Refusal]:
        """The captions of the table, else of the text, else of the json; and why there are none."""
        refusals = [Refusal("no_caption", "it has no caption")]
        if record is not None and record.get("captions") is not None:
            captions, refused = read_cell(record["captions"])
            if captions:
                return captions, refusals[0]
            refusals.append(refused or refusals[0])
        for suffix in TEXTS:
            if suffix not in found:
                continue
            try:
                return self.read_text(found[suffix]), refusals[0]
            except Refusal as refusal:
                refusals.append(refusal)
        about = about if record is None else self.read_json(found)
        for name in self.caption_names:
            if about.get(name) is not None:
                captions, refused = read_cell(about[name])
                if captions:
                    return captions, refusals[0]
                refusals.append(refused or refusals[0])
        return [], refusals[-1]

    def read_text(self, member: Member) -> list[str]:
        """The captions of a text.

        Raises:
            Refusal: where there is none.
        """
        data = b"" if member.size > LARGEST_TEXT else self.read(member)
        if max(member.size, len(data)) > LARGEST_TEXT:
            raise Refusal("bad_caption", f"caption of more than {LARGEST_TEXT // 2**20} MiB")
        return read_captions(data, joined=self.joined)[0]


def make_place(key: str, picture: Member, about: Mapping[str, Any]) -> Place:
    """Where a picture lies, with what is known of it as it came."""
    width, height = (about.get(f"original_{side}") for side in ("width", "height"))
    whole = isinstance(width, int) and isinstance(height, int)
    sizes = (width, height) if whole and all(0 < n < 2**31 for n in (width, height)) else ()
    digest = about.get("sha256")
    digest = digest if isinstance(digest, str) and len(digest) == 64 and digest.isalnum() else None
    return Place(key, picture.start, picture.size, picture.name, *(sizes or (None, None)), digest)
