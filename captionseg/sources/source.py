"""The interface of every source of image-caption pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from captionseg.records import ClassTable

SPLITS = ("train", "tune", "test")


class Place(NamedTuple):
    """Where the bytes of an image are.

    Attributes:
        file: path of the file.
        start: first byte in it.
        size: number of bytes.
    """

    file: str
    start: int
    size: int


@dataclass(frozen=True)
class Sample:
    """One source row: a captioned image, or why there is none.

    Attributes:
        url: of the image, or another name that no other image of the source has.
        caption: empty where it is missing.
        split: one of SPLITS.
        jpeg: encoded image; None on failure.
        place: where these bytes stay; None if the shard is to have them.
        width, height: of the JPEG, in pixels.
        status: success, or one of the FAILED_ texts with `error` saying why.
        reason: one of REASONS, None on success.
        held_out: further captions of the image, which no rule, vocabulary or alignment may see.
        source_row: where the row came from, such as captions.csv:17.
        phash: perceptual hash of the JPEG, 16 hex digits; None where the writer of the shard is to
            compute it.
        original_width, original_height, original_sha256, original_bytes: of the file that the JPEG
            was made from; 0 and empty where there was none.
        concepts, mask: ground truth, where it is known: class names, and [H, W] uint8 class numbers
            (255 is ignored).
    """

    url: str
    caption: str
    split: str
    jpeg: bytes | None = None
    width: int = 0
    height: int = 0
    status: str = "success"
    error: str | None = None
    reason: str | None = None
    held_out: tuple[str, ...] = ()
    source_row: str = ""
    phash: str | None = None
    original_width: int = 0
    original_height: int = 0
    original_sha256: str = ""
    original_bytes: int = 0
    concepts: tuple[str, ...] = ()
    mask: np.ndarray | None = None
    place: Place | None = None


class Source(Protocol):
    """Where pairs come from. Pickled to the processes that make its samples, so it holds no open
    files.

    After `prepare` its repr says everything that its samples depend on beside the seed: a resumed
    run goes on from a shard only if that is the same.
    """

    def prepare(self, folder: Path | None = None) -> None:
        """Fetch or list what all samples share, once, before any process starts.

        Args:
            folder: for files that all processes read; None for a temporary one.
        """
        ...

    def splits(self) -> dict[str, int]:
        """Number of source rows of each split, in the order of SPLITS."""
        ...

    def samples(self, split: str, numbers: Sequence[int], *, seed: int) -> list[Sample]:
        """Make the samples of some rows of a split.

        A row and a seed always give the same sample, whichever other rows are requested.
        """
        ...

    def classes(self) -> ClassTable:
        """The classes of the masks; empty where no ground truth is known."""
        ...

    def licences(self) -> str:
        """CSV text: origin and licence of everything that the samples contain; may be empty."""
        ...


@runtime_checkable
class SharedSource(Source, Protocol):
    """A source with limits, such as a number of connections, that its processes share."""

    def max_workers(self) -> int:
        """Largest number of processes that may make samples at the same time."""
        ...

    def share(self, workers: int) -> Source:
        """This source with the share of its limits that each of so many processes has."""
        ...
