"""Images in the order in which duplicates are kept, and marks for those that are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from captionseg.marking.marker import MarkedRows, Rows


@dataclass(frozen=True)
class Pictures:
    """The images with a pair that is kept or held out, best first: those of tune and test, then by
    the area of the original image, then by row.

    Pairs of one image with several captions are one entry, so they are not duplicates.

    Attributes:
        row: [P] first row of each image that is kept or held out.
        held_out: [P] bool, True only at the start.
    """

    row: np.ndarray
    held_out: np.ndarray

    @staticmethod
    def list_candidates(rows: Rows, kept: np.ndarray) -> Pictures:
        """The images of some rows.

        Args:
            rows: N pairs.
            kept: [N] bool, those kept so far; rows of other splits are added.
        """
        alive = np.flatnonzero(kept | rows.held_out)
        first = alive[np.unique(rows.picture[alive], return_index=True)[1]]
        area = rows.width[first].astype(np.int64) * rows.height[first]
        order = np.lexsort((first, -area, ~rows.held_out[first]))
        return Pictures(first[order], rows.held_out[first[order]])

    def filter(self, usable: np.ndarray) -> Pictures:
        """The images whose first rows are usable.

        Args:
            usable: [N] bool.
        """
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
    """Mark every kept pair of the images that follow another image.

    Args:
        rows: N pairs.
        kept: [N] bool, those kept so far.
        pictures: P images.
        leader: [P] the image that is kept in the place of each; itself where it is kept.
        kind: exact, near or semantic.
        detail: (rows of followers, rows of their twins) -> text to append to each reason.
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
