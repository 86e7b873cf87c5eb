"""What an earlier download has of the same rows: its shards are taken over, but for the rows that
failed to download and may do better when they are asked for again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from captionseg import images
from captionseg.datasets.integrity import find_flaw
from captionseg.records import PAIRS, TRUTH
from captionseg.sources.reasons import ASKED_AGAIN
from captionseg.sources.source import Sample
from captionseg.storage.writing import atomic_path

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Earlier:
    """Folders of an earlier download.

    Attributes:
        pairs, truth: folders of shards.
        stamp: of the rows that are wanted; shards of others are not taken.
    """

    pairs: Path
    truth: Path
    stamp: str

    @classmethod
    def find(
        cls, folders: tuple[Path, Path] | None, names: Sequence[str], stamp: str
    ) -> Earlier | None:
        """The earlier download in these folders, if it is of the same rows; a line says where it is
        not.
        """
        if folders is None:
            return None
        found = cls(*folders, stamp)
        if found.fits(names):
            return found
        log.warning(
            "download.retry: %s has no shard of these rows, so all are asked for", folders[0]
        )
        return None

    def fits(self, names: Sequence[str]) -> bool:
        """Is there any shard of these rows?"""
        for name in names:
            with suppress(OSError, ValueError, AttributeError):
                stats = json.loads((self.pairs / f"{name}_stats.json").read_text())
                if stats.get("source") == self.stamp:
                    return True
        return False

    def read_rows(self, name: str, count: int) -> list[dict[str, Any]] | None:
        """All rows of a shard, schema PAIRS; None where it is not whole, or of other rows."""
        if flaw := find_flaw(self.pairs, self.truth, name, rows=count, stamp=self.stamp):
            log.warning(
                "download.retry: shard %s of %s is not whole (%s), so all of it is asked for",
                *(name, self.pairs, flaw),
            )
            return None
        return pq.read_table(self.pairs / f"{name}.parquet", schema=PAIRS).to_pylist()

    def copy(self, name: str, pairs: Path, truth: Path) -> None:
        """Put a shard into other folders, byte for byte, its stats last."""
        files = [(self.truth, truth, f"{name}.parquet")]
        files += [
            (self.pairs, pairs, f"{name}{end}") for end in (".tar", ".parquet", "_stats.json")
        ]
        for source, target, file in files:
            with atomic_path(target / file) as part:
                shutil.copyfile(source / file, part)

    def read_samples(
        self, name: str, rows: Sequence[dict[str, Any]]
    ) -> Iterator[tuple[int, Sample]]:
        """(number of the row, sample) of the rows of a shard that are kept; not of those whose
        picture is damaged.
        """
        masks = {
            row["uid"]: row
            for row in pq.read_table(self.truth / f"{name}.parquet", schema=TRUTH).to_pylist()
        }
        with tarfile.open(self.pairs / f"{name}.tar", "r:") as tar:
            for number, row in enumerate(rows):
                if is_asked_again(row):
                    continue
                jpeg = None
                if row["status"] == "success":
                    stream = tar.extractfile(f"{row['key']}.jpg")
                    jpeg = stream.read() if stream is not None else b""
                    if hashlib.sha256(jpeg).hexdigest() != row["sha256"]:
                        continue
                yield number, make_sample(row, jpeg, masks.get(row["uid"]))


def is_asked_again(row: dict[str, Any]) -> bool:
    """May a row of PAIRS do better the next time?"""
    return row["status"] != "success" and row["reason"] in ASKED_AGAIN


def make_sample(row: dict[str, Any], jpeg: bytes | None, known: dict[str, Any] | None) -> Sample:
    """The sample that a row of PAIRS, and one of TRUTH where there is any, was made of."""
    return Sample(
        row["url"],
        row["caption"],
        row["split"],
        jpeg,
        row["width"] or 0,
        row["height"] or 0,
        status=row["status"],
        error=row["error_message"],
        reason=row["reason"],
        held_out=tuple(row["held_out_captions"] or ()),
        source_row=row["source_row"],
        phash=row["phash"],
        original_width=row["original_width"] or 0,
        original_height=row["original_height"] or 0,
        original_sha256=row["original_sha256"] or "",
        concepts=tuple(known["concepts"]) if known else (),
        mask=images.read_mask(known["mask"])[1] if known else None,
    )


def set_aside(pairs: Path, truth: Path) -> tuple[Path, Path]:
    """Move a download that ended, but with too few successes, to where the next one finds it."""
    folders = find_aside(pairs)
    shutil.rmtree(folders[0].parent, ignore_errors=True)
    folders[0].parent.mkdir()
    for source, target in zip((pairs, truth), folders, strict=True):
        source.rename(target)
        source.mkdir()
    return folders


def find_aside(pairs: Path) -> tuple[Path, Path]:
    """Where `set_aside` moves pairs and truth to."""
    folder = pairs.with_name("tried")
    return folder / "pairs", folder / "truth"
