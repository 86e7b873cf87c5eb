"""Base of the sources that list their rows first and read image files afterwards.

A listing has one row per image. It is written to an Arrow file per split, which all processes map
into memory, so no process holds a list of all rows.
"""

from __future__ import annotations

import atexit
import hashlib
import itertools
import logging
import shutil
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from captionseg.records import ClassTable
from captionseg.sources.encoding import SMALLEST_SIDE, EncodedPicture, encode_picture
from captionseg.sources.listing_rows import ROWS, Row, choose_captions, describe_captions, hash_name
from captionseg.sources.reasons import Refusal, find_status
from captionseg.sources.repeats import hash_pair, refuse_repeats
from captionseg.sources.source import SPLITS, Sample
from captionseg.typed import Count, Share

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ListedSource:
    """Base of the sources that list images and then read them.

    A subclass defines `list_batches` and `read`.

    Attributes:
        tune, test: shares of the images. The hash of an image's bytes (of its path or URL where
            these are not known) decides its split, so it stays there when others come or go.
        max_side: longest side of an image in the shards, in pixels; no image is enlarged.
        captions: of an image with several, which make a pair: the first, each, or one that is
            drawn by the hash of the image's name. The others are held out: no rule, vocabulary or
            alignment sees them.
        listing: not a parameter; hash of the listing, set by `prepare`.
    """

    tune: Share = 0.1
    test: Share = 0.1
    max_side: Count = 512
    captions: Literal["first", "each", "random"] = "first"
    listing: str = field(default="", init=False)
    listing_folder: str = field(default="", init=False, repr=False, compare=False)

    KEEPS_JPEG: ClassVar[bool] = False
    """Whether a JPEG that needs no change is copied byte for byte, with its metadata."""

    def __post_init__(self) -> None:
        if min(self.tune, self.test) < 0 or self.tune + self.test > 1:
            raise ValueError("tune and test are shares, 0 to 1 together")
        if self.max_side < SMALLEST_SIDE:
            raise ValueError(f"max_side must be at least {SMALLEST_SIDE}, found {self.max_side}")

    def list_batches(self) -> Iterator[pa.RecordBatch]:
        """Batches of schema LISTING, in the order of the source.

        Raises:
            UserError: if the settings lead to no rows.
        """
        raise NotImplementedError

    def read(self, rows: Sequence[Row]) -> Iterable[bytes | Refusal]:
        """The content of each row's image file, or why there is none.

        Args:
            rows: of one shard; no two consecutive rows have the same image.
        """
        raise NotImplementedError

    def prepare(self, folder: Path | None = None) -> None:
        """Write the listing, so that every process reads the same one.

        Args:
            folder: of the listing; None for a temporary one that is deleted with the process.

        Raises:
            UserError: if the settings lead to no rows.
        """
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="captionseg-listing-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        self._write_listing(folder)
        digest = hashlib.sha256()
        for split in SPLITS:
            with (folder / f"{split}.arrow").open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        object.__setattr__(self, "listing_folder", str(folder))
        object.__setattr__(self, "listing", digest.hexdigest()[:16])

    def _write_listing(self, folder: Path) -> None:
        multiple, uids = 0, {split: array("Q") for split in SPLITS}
        with ExitStack() as stack:
            files = {
                split: stack.enter_context(pa.ipc.new_file(str(folder / f"{split}.arrow"), ROWS))
                for split in SPLITS
            }
            for batch in self.list_batches():
                rows: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
                for row in batch.to_pylist():
                    multiple += len(row["captions"] or ()) > 1
                    rows[self.choose_split(row)].extend(choose_captions(row, self.captions))
                for split, chosen in rows.items():
                    uids[split].extend(map(hash_pair, chosen))
                    if chosen:
                        files[split].write_table(pa.Table.from_pylist(chosen, schema=ROWS))
        refuse_repeats(folder, {split: np.array(hashes) for split, hashes in uids.items()})
        if multiple:
            log.warning("%s", describe_captions(multiple, self.captions))

    def choose_split(self, row: dict[str, Any]) -> str:
        """The split of a row of LISTING."""
        digest = row["sha256"] or hash_name(row["picture"] or row["source_row"])
        share = int(digest[:12], 16) / 16**12
        return "test" if share < self.test else "tune" if share < self.test + self.tune else "train"

    def table(self, split: str) -> pa.Table:
        """The rows of a split, schema ROWS, mapped into memory."""
        if (
            not self.listing_folder or not Path(self.listing_folder).is_dir()
        ):  # write_shards removes its own
            self.prepare()
        with pa.memory_map(str(Path(self.listing_folder) / f"{split}.arrow")) as stream:
            return pa.ipc.open_file(stream).read_all()

    def splits(self) -> dict[str, int]:
        """See Source."""
        return {split: len(self.table(split)) for split in SPLITS}

    def classes(self) -> ClassTable:
        """See Source: no ground truth is known."""
        return ClassTable((), ())

    def licences(self) -> str:
        """See Source: none is known."""
        return ""

    def samples(self, split: str, numbers: Sequence[int], *, seed: int) -> list[Sample]:
        """See Source; the seed decides nothing."""
        rows = [
            Row(**{**row, "held_out": tuple(row["held_out"] or ())})
            for row in self.table(split).take(pa.array(list(numbers), pa.int64())).to_pylist()
        ]
        # pairs of one image are consecutive, and it is read once
        groups = [
            list(group)
            for _, group in itertools.groupby(rows, key=lambda row: (row.picture, row.error))
        ]
        firsts = [group[0] for group in groups]
        pictures = iter(self.read([row for row in firsts if row.error is None]))
        samples: list[Sample] = []
        for group in groups:
            picture = self._encode_next(group[0], pictures)
            samples += [make_sample(row, split, picture) for row in group]
        return samples

    def _encode_next(
        self, row: Row, pictures: Iterator[bytes | Refusal]
    ) -> EncodedPicture | Refusal:
        """Encode the next image, or return why a row has none.

        Args:
            row: a row without an error has the next image.
            pictures: contents of image files.
        """
        if row.error is not None:
            return Refusal(row.reason or "other", row.error)
        data = next(pictures)
        if isinstance(data, Refusal):
            return data
        if row.sha256 and hashlib.sha256(data).hexdigest() != row.sha256:
            return Refusal("changed", "changed while it was being read")
        try:
            return encode_picture(data, self.max_side, name=row.picture, keep=self.KEEPS_JPEG)
        except Refusal as refusal:
            return refusal


def make_sample(row: Row, split: str, picture: EncodedPicture | Refusal) -> Sample:
    """The sample of a row, with its image or the reason why there is none."""
    if isinstance(picture, Refusal):
        return Sample(
            row.picture,
            row.caption,
            split,
            status=find_status(picture.reason),
            error=str(picture),
            reason=picture.reason,
            held_out=row.held_out,
            source_row=row.source_row,
            original_sha256="" if picture.reason == "changed" else row.sha256,
        )
    return Sample(
        row.picture,
        row.caption,
        split,
        picture.jpeg,
        *picture.size,
        phash=picture.phash,
        held_out=row.held_out,
        source_row=row.source_row,
        original_width=picture.original_size[0],
        original_height=picture.original_size[1],
        original_sha256=picture.original_sha256,
        original_bytes=picture.original_bytes,
    )
