"""Run markers over the pairs of an index, one after the other."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from captionseg.marking.marker import Marker, Rows
from captionseg.records import MARKS, UserError
from captionseg.storage.writing import write_table

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Marks:
    """What is marked of N pairs.

    Attributes:
        kind: [N] of KINDS, empty where a pair is kept or held out.
        reason: [N] a line for people, empty likewise.
        twin: [N] uid of the pair that stays in its place, empty where there is none.
        unread: [N] bool: the caption is none to read.
    """

    kind: np.ndarray
    reason: np.ndarray
    twin: np.ndarray
    unread: np.ndarray

    @staticmethod
    def blank(count: int) -> Marks:
        """Nothing is marked."""
        kind, reason, twin = (np.full(count, "", object) for _ in range(3))
        return Marks(kind, reason, twin, np.zeros(count, bool))

    def take(self, rows: np.ndarray) -> Marks:
        """Some of the pairs."""
        return Marks(*(getattr(self, name)[rows] for name in ("kind", "reason", "twin", "unread")))

    def count(self, kinds: Iterable[str]) -> dict[str, int]:
        """How many pairs are marked as each of some kinds."""
        counts = Counter(self.kind[self.kind != ""].tolist())
        return {kind: counts[kind] for kind in kinds}


def mark(rows: Rows, markers: Mapping[str, Marker], before: Marks, *, seed: int) -> Marks:
    """The marks of `before`, and those of some markers on the training pairs that are still kept.

    Args:
        rows: all pairs.
        markers: by name, in order.
        before: [N] as many.
        seed: of centres and draws.

    Raises:
        UserError: if no training pair is left, naming the marker.
    """
    kind, reason, twin = (getattr(before, name).copy() for name in ("kind", "reason", "twin"))
    unread, train = before.unread.copy(), ~rows.held_out
    for name, marker in markers.items():
        kept = train & (kind == "")
        marked = marker(rows, kept, seed=seed)
        assert kept[marked.row].all(), f"marker {name} marks what is not kept"
        kind[marked.row] = np.array(marked.kind, object)
        reason[marked.row] = np.array(marked.reason, object)
        has_twin = marked.twin >= 0
        twin[marked.row[has_twin]] = rows.uid[marked.twin[has_twin]]
        unread[marked.row] |= marker.reads == "caption"
        log.info("%s: %d of %d training pairs are marked", name, len(marked.row), kept.sum())
        if len(marked.row) and len(marked.row) == kept.sum():
            raise UserError(
                f"curate.marks.{name}: leaves none of {train.sum()} training pairs "
                f"({len(marked.row)} were kept before it); loosen it"
            )
    return Marks(kind, reason, twin, unread)


def write_marks(rows: Rows, marks: Marks, path: Path) -> None:
    """The marked pairs alone, schema MARKS, in the order of the index."""
    row = np.flatnonzero(marks.kind != "")
    twin = [uid or None for uid in marks.twin[row]]
    columns = [rows.uid[row].tolist(), marks.kind[row].tolist(), marks.reason[row].tolist(), twin]
    arrays = [pa.array(values, pa.string()) for values in columns]
    write_table(pa.table(arrays, schema=MARKS), path)
