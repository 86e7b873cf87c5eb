"""The result of segmenting a picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from captionseg.records import UserError

ROWS = 64  # of a picture that are counted at once, so that they stay in the processor's cache
NONE = 255
"""Value of pixels without a label in an index PNG."""
LONGEST = 60
"""Characters of a label that are shown; files of results have it whole."""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A picture, and which of the labels each of its pixels has.

    Attributes:
        labels: [C] names of the labels.
        mask: int16 [H, W], number of each pixel's label, counted from 0; -1 without one.
        scores: float32 [C], mean over its pixels of the score by which each label won; NaN for one
            without a pixel. Their scale is the model's: cosines for most.
        image: uint8 [H, W, 3], the picture, upright.
        name: of its file; empty if it has none.
    """

    labels: tuple[str, ...]
    mask: np.ndarray
    scores: np.ndarray
    image: np.ndarray
    name: str = ""

    def __repr__(self) -> str:
        height, width = self.mask.shape
        parts = ", ".join(
            f"{cut_label(label)} {100 * part:.0f} %" for label, part in self.list_shares()[:3]
        )
        return f"Segmentation({self.name or 'picture'}, {width} x {height}: {parts})"

    @cached_property
    def areas(self) -> np.ndarray:
        """Pixels of each label, int64 [C]."""
        area, count = np.zeros(len(self.labels) + 1, np.int64), len(self.labels) + 1
        for top in range(0, len(self.mask), ROWS):
            area += np.bincount(self.mask[top : top + ROWS].ravel() + 1, minlength=count)
        return area[1:]

    @property
    def shares(self) -> np.ndarray:
        """Share of the picture that each label covers, float64 [C]."""
        return self.areas / self.mask.size

    @property
    def masks(self) -> np.ndarray:
        """Masks of the labels, bool [C, H, W]."""
        return self.mask == np.arange(len(self.labels), dtype=np.int16)[:, None, None]

    def mask_of(self, label: str) -> np.ndarray:
        """Return the mask of one label, bool [H, W].

        Raises:
            UserError: if it is none of the labels.
        """
        if label not in self.labels:
            raise UserError(f"label: {label!r} is none of {', '.join(self.labels)}")
        return self.mask == self.labels.index(label)

    def list_shares(self) -> list[tuple[str, float]]:
        """List each label with its share of the picture, the largest first."""
        rows = zip(self.labels, self.shares.tolist(), strict=True)
        return sorted(rows, key=lambda row: -row[1])

    def overlay(self, *, opacity: float = 0.55, legend: bool = True) -> Image.Image:
        """Draw the picture in the labels' colours.

        Args:
            opacity: of the colours, 0 to 1.
            legend: whether a legend is added below.

        Raises:
            UserError: for another opacity.
        """
        if not 0 <= opacity <= 1:
            raise UserError(f"opacity: expected a number from 0 to 1, found {opacity}")
        from captionseg.api.drawing import draw_segmentation

        return draw_segmentation(self, opacity=opacity, legend=legend)

    def index_image(self) -> Image.Image:
        """Return the numbers of the labels as an image with a palette, NONE for pixels without
        one.
        """
        from captionseg.reporting.overlay import make_palette

        image = Image.fromarray(self.mask.astype(np.uint8))  # -1 becomes NONE
        # all 256 colours: with fewer, a PNG would have fewer bits a pixel
        palette = np.full((256, 3), 255, np.uint8)
        palette[: len(self.labels)] = make_palette(len(self.labels))
        image.putpalette(palette.tobytes())
        return image

    def to_coco(self) -> dict[str, Any]:
        """Return the masks as a data set in COCO's JSON, see `captionseg.to_coco`."""
        from captionseg.api.coco import to_coco

        return to_coco([self])


def cut_label(label: str) -> str:
    """Cut a label to what is shown of it, or a long one would take any width."""
    return label if len(label) <= LONGEST else label[: LONGEST - 3].rstrip() + "..."
