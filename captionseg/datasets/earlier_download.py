"""Reuse of an earlier download of the same rows: only rows that failed, and may succeed when they
are requested again, are downloaded.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from captionseg import images
from captionseg.datasets.integrity import find_flaw
from captionseg.datasets.shard_images import open_shard
from captionseg.records import PAIRS, TRUTH
from captionseg.sources.reasons import ASKED_AGAIN
from captionseg.sources.source import Sample
from captionseg.storage.writing import atomic_path

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EarlierDownload:
    """Folders of an earlier download.

    Attributes:
        pairs, truth: folders of shards.
        stamp: hash of the source and its settings; only shards with this stamp are reused.
    """

    pairs: Path
    truth: Path
    stamp: str

    @classmethod
    def find(
        cls, folders: tuple[Path, Path] | None, names: Sequence[str], stamp: str
    ) -> EarlierDownload | None:
        """The earlier download in these folders; None, with a warning, if it is of other rows.

        Args:
            folders: pairs and truth; None where there is no earlier download.
            names: of the shards.
            stamp: see above.
        """
        if folders is None:
            return None
        download = cls(*folders, stamp)
        if download.has_any(names):
            return download
        log.warning(
            "download.retry: %s has no shard of these rows, so all are asked for", folders[0]
        )
        return None

    def has_any(self, names: Sequence[str]) -> bool:
        """Whether any of these shards has the stamp."""
        for name in names:
            with suppress(OSError, ValueError, AttributeError):
                stats = json.loads((self.pairs / f"{name}_stats.json").read_text(encoding="utf-8"))
                if stats.get("source") == self.stamp:
                    return True
        return False

    def read_rows(self, name: str, count: int) -> list[dict[str, Any]] | None:
        """All rows of a shard, schema PAIRS; None if it is damaged, or of other rows.

        Args:
            name: of the shard.
            count: rows that it should have.
        """
        if flaw := find_flaw(self.pairs, self.truth, name, rows=count, stamp=self.stamp):
            log.warning(
                "download.retry: shard %s of %s is not whole (%s), so all of it is asked for",
                *(name, self.pairs, flaw),
            )
            return None
        return pq.read_table(self.pairs / f"{name}.parquet", schema=PAIRS).to_pylist()

    def copy(self, name: str, pairs: Path, truth: Path) -> None:
        """Copy a shard into other folders, byte for byte, its stats last."""
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
        """Yield (number of the row, sample) for the rows of a shard that are kept, without those
        whose image is damaged.
        """
        masks = {
            row["uid"]: row
            for row in pq.read_table(self.truth / f"{name}.parquet", schema=TRUTH).to_pylist()
        }
        path = self.pairs / f"{name}.tar"
        with open_shard(path) as opened:
            for number, row in enumerate(rows):
                if is_asked_again(row):
                    continue
                jpeg = place = None
                if row["status"] == "success":
                    place = opened.find(row["key"])
                    jpeg = opened.read(place)
                    if hashlib.sha256(jpeg).hexdigest() != row["sha256"]:
                        continue
                    place = None if place.file == str(path) else place
                sample = make_sample(row, jpeg, masks.get(row["uid"]))
                yield number, replace(sample, place=place)


def is_asked_again(row: dict[str, Any]) -> bool:
    """Whether a row of PAIRS failed in a way that may pass, so that it is requested again."""
    return row["status"] != "success" and row["reason"] in ASKED_AGAIN


def make_sample(row: dict[str, Any], jpeg: bytes | None, truth: dict[str, Any] | None) -> Sample:
    """The sample that a row of PAIRS was made from, and its row of TRUTH if there is one."""
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
        concepts=tuple(truth["concepts"]) if truth else (),
        mask=images.read_mask(truth["mask"])[1] if truth else None,
    )


def set_aside(pairs: Path, truth: Path) -> tuple[Path, Path]:
    """Move a download that had too few successes to where the next one finds it."""
    folders = find_aside(pairs)
    shutil.rmtree(folders[0].parent, ignore_errors=True)
    folders[0].parent.mkdir()
    for source, target in zip((pairs, truth), folders, strict=True):
        source.rename(target)
        source.mkdir()
    return folders


def find_aside(pairs: Path) -> tuple[Path, Path]:
    """The folders that `set_aside` moves pairs and truth to."""
    folder = pairs.with_name("tried")
    return folder / "pairs", folder / "truth"
