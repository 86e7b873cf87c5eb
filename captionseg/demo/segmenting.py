"""Pictures by words, for the page: what the Python API says, drawn at the size of a screen."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

from captionseg.api.model import Model
from captionseg.api.pictures import Pixels
from captionseg.api.segmentation import NONE, Segmentation
from captionseg.images import shrink_size
from captionseg.inference.unknown_words import describe_unknown
from captionseg.records import UserError
from captionseg.reporting.overlay import draw_overlay, make_palette
from captionseg.text.label_names import LabelNames
from captionseg.text.typed_labels import read_labels

SIDE = 1024  # long side of a picture on the page, in pixels
FEW = 8  # labels that are told with their shares
WHERE = "words"
"""Where labels come from, in messages."""


@dataclass(frozen=True, eq=False)
class Shown:
    """What one model made of a picture.

    Attributes:
        model: what it is called.
        result: its segmentation, in the picture's own size.
        notes: lines about words that the model never saw.
    """

    model: str
    result: Segmentation
    notes: tuple[str, ...]

    @cached_property
    def small(self) -> tuple[np.ndarray, np.ndarray]:
        """Picture uint8 [h, w, 3] and labels uint8 [h, w], NONE without one, for a screen."""
        height, width = self.result.mask.shape
        size = shrink_size((width, height), SIDE)
        image = Image.fromarray(self.result.image).resize(size, Image.Resampling.BOX)
        mask = Image.fromarray(self.result.mask.astype(np.uint8))  # -1 becomes NONE
        return np.asarray(image), np.asarray(mask.resize(size, Image.Resampling.NEAREST))

    def draw(self, hidden: Collection[int], opacity: float) -> np.ndarray:
        """Draw the picture in the labels' colours, uint8 [h, w, 3].

        Args:
            hidden: numbers of labels whose pixels are left as they are.
            opacity: of the colours, 0 to 1.
        """
        image, mask = self.small
        shown = np.where(np.isin(mask, list(hidden)), np.uint8(NONE), mask)
        return draw_overlay(image, shown, make_palette(len(self.result.labels)), opacity=opacity)

    def describe(self) -> str:
        """Describe the result in a line: the model, and the largest shares of labels."""
        rows = [row for row in self.result.list_shares() if row[1] > 0]
        parts = [f"{label} {format_share(share)}" for label, share in rows[:FEW]]
        if len(rows) > FEW:
            parts.append(f"{len(rows) - FEW} more")
        return f"{self.model}: {', '.join(parts) or 'no label'}"


def segment(
    model: Model, name: str, picture: Pixels, words: str, *, other: bool | None = None
) -> Shown:
    """Segment a picture by words.

    Args:
        model: the model.
        name: what the page calls it.
        picture: the picture.
        words: labels as they were typed, with commas between.
        other: see `captionseg.api.model.Model.segment`.

    Raises:
        UserError: for words that cannot be used.
    """
    labels = read_labels(words, WHERE)
    chosen = model.choose_words(labels, other=other)
    result = model.segment_pixels(picture.image, chosen, name=picture.name)
    names = LabelNames.read(labels).names
    notes = describe_unknown(names, model.folder, model.predictor.embed_labels)
    return Shown(name, result, tuple(notes))


def check_words(words: str) -> None:
    """Check words before a model is loaded.

    Raises:
        UserError: see `segment`.
    """
    if not words.replace(",", " ").strip():
        raise UserError(f'{WHERE}: type at least one, such as "zebra, grass"')
    LabelNames.read(read_labels(words, WHERE))


def list_present(results: Sequence[Shown]) -> tuple[list[int], list[str]]:
    """List the numbers of labels that some model found, and the names of those that none found.

    Args:
        results: of one picture and the same words, at least one.
    """
    labels = results[0].result.labels
    found = np.sum([shown.result.areas for shown in results], axis=0) > 0
    return (
        np.flatnonzero(found).tolist(),
        [label for label, one in zip(labels, found, strict=True) if not one],
    )


def format_share(share: float) -> str:
    """Format a share as per cent."""
    return "under 1 %" if 0 < share < 0.01 else f"{100 * share:.0f} %"
