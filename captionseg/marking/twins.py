"""Pictures in the order in which they stay, and marks of those that another one stands for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from captionseg.marking.marker import MarkedRows, Rows


@dataclass(frozen=True)
class Pictures:
    """The pictures of which some pair is kept or held out, best first: those of tune and test, then
    the larger one as it came, then the one whose row comes first.

    Pairs of one picture (its several captions) are one here, so none is a duplicate of another.

    Attributes:
        row: [P] its first row that is kept, or held out.
        held_out: [P] bool, at the start.
    """

    row: np.ndarray
    held_out: np.ndarray

    @staticmethod
    def list_candidates(rows: Rows, kept: np.ndarray) -> Pictures:
        """Of the rows that are [N] kept so far, and of those of the other splits."""
        alive = np.flatnonzero(kept | rows.held_out)
        first = alive[np.unique(rows.picture[alive], return_index=True)[1]]
        area = rows.width[first].astype(np.int64) * rows.height[first]
        order = np.lexsort((first, -area, ~rows.held_out[first]))
        return Pictures(first[order], rows.held_out[first[order]])

    def filter(self, usable: np.ndarray) -> Pictures:
        """Those whose first rows are [N] known."""
        chosen = usable[self.row]
        return Pictures(self.row[chosen], self.held_out[chosen])

    def __len__(self) -> int:
        return len(self.row)


def mark_followers(
    rows: Rows,
    kept: np.ndarray,
    pictures: Pictures,
    leader: np.ndarray,
    kind: str,
    detail: Callable[[np.ndarray, np.ndarray], list[str]] | None = None,
) -> MarkedRows:
    """Mark every kept pair of the pictures that follow another one.

    Args:
        rows: all of them.
        kept: [N] so far.
        pictures: P of them.
        leader: [P] the picture that stays in the place of each; itself where it stays.
        kind: exact, near or semantic.
        detail: rows of the pictures that are lost, rows of their twins -> what to say beside.
    """
    lost = np.flatnonzero((leader != np.arange(len(pictures))) & ~pictures.held_out)
    followed, twin = pictures.row[lost], pictures.row[leader[lost]]
    details = detail(followed, twin) if detail else [""] * len(lost)
    leak = rows.held_out[twin]
    reasons = [
        f"leak: {kind} duplicate of {rows.uid[t]} in split {rows.split[t]}{detail_text}"
        if leaks
        else f"{kind} duplicate of {rows.uid[t]}{detail_text}"
        for t, leaks, detail_text in zip(twin, leak, details, strict=True)
    ]
    number = np.full(rows.picture.max(initial=-1) + 1, -1)
    number[rows.picture[followed]] = np.arange(len(lost))
    row = np.flatnonzero(kept & (number[rows.picture] >= 0))
    index = number[rows.picture[row]]
    return MarkedRows(
        row,
        ["leak" if leak[i] else f"{kind}_duplicate" for i in index],
        [reasons[i] for i in index],
        twin[index],
    )
