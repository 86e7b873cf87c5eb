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
    """The marks of N pairs.

    Attributes:
        kind: [N] of KINDS; empty where a pair is kept or held out.
        reason: [N] one line of text; empty where a pair is kept or held out.
        twin: [N] uid of the pair that is kept in its place; empty where there is none.
        unread: [N] bool, whether vocabulary and rules ignore the caption.
    """

    kind: np.ndarray
    reason: np.ndarray
    twin: np.ndarray
    unread: np.ndarray

    @staticmethod
    def blank(count: int) -> Marks:
        """Marks of `count` pairs, all of them kept."""
        kind, reason, twin = (np.full(count, "", object) for _ in range(3))
        return Marks(kind, reason, twin, np.zeros(count, bool))

    def take(self, rows: np.ndarray) -> Marks:
        """The marks of some of the pairs."""
        return Marks(*(getattr(self, name)[rows] for name in ("kind", "reason", "twin", "unread")))

    def count(self, kinds: Iterable[str]) -> dict[str, int]:
        """Number of pairs of each kind."""
        counts = Counter(self.kind[self.kind != ""].tolist())
        return {kind: counts[kind] for kind in kinds}


def mark(rows: Rows, markers: Mapping[str, Marker], before: Marks, *, seed: int) -> Marks:
    """Add the marks of some markers to `before`; each marks training pairs that are still kept.

    Args:
        rows: all pairs.
        markers: by name, in order.
        before: marks of the N pairs so far.
        seed: of cluster centres and draws.

    Raises:
        UserError: if no training pair is left, naming the marker.
    """
    kind, reason, twin = (getattr(before, name).copy() for name in ("kind", "reason", "twin"))
    unread, train = before.unread.copy(), ~rows.held_out
    for name, marker in markers.items():
        kept = train & (kind == "")
        marked = marker(rows, kept, seed=seed)
        if not kept[marked.row].all():
            raise RuntimeError(f"marker {name} marks what is not kept")
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
    """Write the marked pairs, schema MARKS, in the order of the index."""
    row = np.flatnonzero(marks.kind != "")
    twin = [uid or None for uid in marks.twin[row]]
    columns = [rows.uid[row].tolist(), marks.kind[row].tolist(), marks.reason[row].tolist(), twin]
    arrays = [pa.array(values, pa.string()) for values in columns]
    write_table(pa.table(arrays, schema=MARKS), path)
