"""The interface of every marker: what it reads and what it returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array

if TYPE_CHECKING:
    from captionseg.arrays import ShardedArray

KINDS = {
    "caption_short": "caption of too few words or characters",
    "caption_long": "caption of too many words or characters",
    "caption_language": "caption that does not look like English",
    "caption_boilerplate": "caption that is no description, such as 'click to enlarge'",
    "caption_file_name": "caption that is the name of a file",
    "caption_repeated": "caption that many pictures share",
    "picture_small": "picture with too short a side",
    "picture_aspect": "picture with too long a side for its other one",
    "exact_duplicate": "picture of the same bytes as another one",
    "near_duplicate": "picture that looks like another one (perceptual hash)",
    "semantic_duplicate": "picture that shows the same as another one (embedding)",
    "leak": "training picture that duplicates one of the tune or test split",
    "balance": "caption of frequent concepts alone, left out by chance",
}
"""Kind of a mark -> what it means."""


@dataclass(frozen=True)
class Rows:
    """The pairs of an index as markers see them, read-only; row i of each array is pair i.

    Attributes:
        uid: [N] 32 hex digits.
        caption: [N] strings.
        split: [N] train, tune or test.
        picture: [N] int64, equal numbers for pairs of one image: one URL or path in one split.
        digest: [N] int64, equal numbers for original files of equal bytes; -1 where unknown.
        phash: [N] uint64 perceptual hash.
        hashed: [N] bool, is the hash known?
        width, height: [N] int, of the original image, in pixels.
        descriptor: [N, R] L2-normalised embeddings of the images alone, without captions.
        named: [N, C] CSR bool: whether caption i names concept c, for training pairs; None before
            the vocabulary is known.
        vocabulary: [C] concepts; empty before it is known.
    """

    uid: np.ndarray
    caption: pa.StringArray
    split: np.ndarray
    picture: np.ndarray
    digest: np.ndarray
    phash: np.ndarray
    hashed: np.ndarray
    width: np.ndarray
    height: np.ndarray
    descriptor: ShardedArray | np.ndarray
    named: csr_array | None = None
    vocabulary: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.uid)

    @property
    def held_out(self) -> np.ndarray:
        """[N] bool: pairs of the tune and test splits, which are never marked."""
        return self.split != "train"


@dataclass(frozen=True)
class MarkedRows:
    """The m rows that a marker marks.

    Attributes:
        row: [m] int64, each once.
        kind: [m] of KINDS.
        reason: [m] one line of text.
        twin: [m] int64, the row that is kept in its place; -1 where there is none.
    """

    row: np.ndarray
    kind: Sequence[str]
    reason: Sequence[str]
    twin: np.ndarray

    @staticmethod
    def without_twins(row: np.ndarray, kind: str, reason: Sequence[str]) -> MarkedRows:
        """Rows without a twin, all of one kind."""
        return MarkedRows(row, [kind] * len(row), reason, np.full(len(row), -1))

    def __add__(self, other: MarkedRows) -> MarkedRows:
        """The rows of both; for a row that both mark, the first applies."""
        new = np.flatnonzero(~np.isin(other.row, self.row)).tolist()
        return MarkedRows(
            np.concatenate([self.row, other.row[new]]),
            [*self.kind, *(other.kind[i] for i in new)],
            [*self.reason, *(other.reason[i] for i in new)],
            np.concatenate([self.twin, other.twin[new]]),
        )


class Marker(Protocol):
    """A frozen dataclass whose fields are its parameters. It is a pure function that marks training
    pairs which are kept so far.

    Attributes:
        kinds: those of KINDS that it uses.
        reads: caption, picture or concepts. A caption that a marker of captions marks is not read
            by the vocabulary and by the rules of curation; concepts are known only after that.
    """

    kinds: ClassVar[tuple[str, ...]]
    reads: ClassVar[str]

    def __call__(self, rows: Rows, kept: np.ndarray, *, seed: int = 0) -> MarkedRows:
        """Return the rows to mark.

        Args:
            rows: N pairs.
            kept: [N] bool, the training pairs that are kept so far; only these may be marked.
            seed: of draws.
        """
        ...
