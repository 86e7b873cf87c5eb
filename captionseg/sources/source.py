"""The one interface of every pair source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from captionseg.records import ClassTable

SPLITS = ("train", "tune", "test")


@dataclass(frozen=True)
class Sample:
    """One source row: a captioned image, or why there is none.

    Attributes:
        url: where it came from.
        caption: empty where it is missing.
        split: one of SPLITS.
        jpeg: the encoded image, None on failure; width and height of it.
        status: success, or one of the FAILED_ texts with `error` saying why.
        reason: one of REASONS, None on success.
        held_out: further captions of the picture, which no rule, vocabulary or alignment may see.
        source_row: where the row came from, such as captions.csv:17.
        phash: perceptual hash of the JPEG, 16 hex digits; None where the writer of the shard is to
            compute it.
        original_width, original_height, original_sha256: of the picture as it came; 0 and empty
            where it was made here. Likewise original_bytes, how many it had.
        concepts, mask: what is really there, where known: names, and [H, W] uint8 class numbers
            (255 ignored).
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


class Source(Protocol):
    """Where pairs come from. Pickled to the processes that make its samples, so it holds no open
    files.

    After `prepare` its repr says everything that its samples depend on beside the seed: a resumed
    run goes on from a shard only if that is the same.
    """

    def prepare(self, folder: Path | None = None) -> None:
        """Fetch or list what is shared by all samples, once, before any process starts.

        Args:
            folder: for files that all processes read; None for a temporary one.
        """
        ...

    def splits(self) -> dict[str, int]:
        """How many source rows each split has, in the order of SPLITS."""
        ...

    def samples(self, split: str, numbers: Sequence[int], *, seed: int) -> list[Sample]:
        """Those rows of a split; the same row and seed give the same sample, whatever else is asked
        for.
        """
        ...

    def classes(self) -> ClassTable:
        """The classes of the masks; empty where no truth is known."""
        ...

    def licences(self) -> str:
        """CSV text: origin and licence of everything that samples are made of; may be empty."""
        ...


@runtime_checkable
class SharedSource(Source, Protocol):
    """A source that may do only so much at a time, in all processes that make its samples."""

    def max_workers(self) -> int:
        """How many processes may make samples at the same time."""
        ...

    def share(self, workers: int) -> Source:
        """This source as each of so many processes has it."""
        ...
