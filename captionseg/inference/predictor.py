"""Picture in, labels out: numpy at the door, tensors inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from captionseg import images
from captionseg.inference.detections import Detections
from captionseg.inference.loaded import Labeller, LoadedModel, check_segments
from captionseg.inference.protocols import ScoringOptions
from captionseg.inference.windows import Protocol, ResolvedProtocol
from captionseg.inference.words import text_encoder
from captionseg.modeling.capabilities import HasZeroShotChoices
from captionseg.records import Inputs, UserError
from captionseg.remarks import quote, warn_once

LENGTHY = 32
"""Windows are scaled to 2048 pixels along the long side at most: the short one needs some patches
yet.
"""


@dataclass(frozen=True)
class Predictor:
    """A trained model with what it takes to prepare a picture for it.

    Attributes:
        labeller: the model, and how it labels; classes are named with each picture.
        prepare: picture -> inputs.
    """

    labeller: Labeller
    prepare: Callable[[np.ndarray], Inputs]

    @staticmethod
    def load(
        folder: Path | str,
        *,
        device: str = "auto",
        background: float | None = None,
        protocol: Protocol | None = None,
    ) -> Predictor:
        """The model of a folder such as models/cocu-mil.

        Args:
            folder: that holds it.
            device: auto, cpu, cuda or cuda:N.
            background: threshold of models with groups, in place of the saved one.
            protocol: how a whole picture is labelled; None takes what was saved with the model.

        Raises:
            UserError: if the folder holds none, or one that knows no background.
        """
        loaded, requested = LoadedModel.load(Path(folder), device=device), protocol or Protocol()
        if background is not None and not isinstance(loaded.model, HasZeroShotChoices):
            raise UserError(
                f"{folder}: model {loaded.name} has no background threshold; omit --background"
            )
        options = ScoringOptions(requested, background=background, device=device)
        labeller = Labeller.of(loaded, options)
        if requested.masks and requested.masks.maker != "regions":
            check_segments(loaded.model, f"{folder}: a {loaded.name}")
        # so that what it lacks is said now, and not with the first picture
        text_encoder(loaded.model, loaded.folder, loaded.frozen)
        return Predictor(labeller, labeller.preparation())

    @property
    def model(self) -> Any:
        """The Segmenter."""
        return self.labeller.loaded.model

    @property
    def protocol(self) -> ResolvedProtocol:
        """How it labels."""
        return self.labeller.protocol

    def segment(self, image: np.ndarray, labels: Sequence[str]) -> np.ndarray:
        """[H, W] int16: for each pixel of a uint8 image [H, W, 3] the number of the label that fits
        best.

        -1 where a model with a background threshold finds that none does.

        Raises:
            UserError: for no label, or an array that is no such image.
        """
        pixels = self._with_classes(labels, image).label(self.prepare(image)).astype(np.int16)
        if len(labels) == 1 and self.protocol.background.score is None:
            warn_once(
                f"labels: with only {quote(labels[0])} and no background, every pixel gets this "
                "label; add labels for the rest of the picture"
            )
        return pixels

    def logits(self, image: np.ndarray, labels: Sequence[str]) -> np.ndarray:
        """[C, H, W] float32 mask logits: cosines of pixels and labels. Raises as `segment`."""
        return self._with_classes(labels, image).logits(self.prepare(image))

    def detect(
        self, image: np.ndarray, labels: Sequence[str], background: Sequence[str] = ()
    ) -> Detections:
        """Masks that look like one of the labels, such as parts of things, more than like any of
        the background.

        Args:
            image: uint8 [H, W, 3].
            labels: what to look for; `classes` are their numbers.
            background: what else there may be: other things, stuff, the whole of which labels are
                parts.

        Raises:
            UserError: as `segment`, and for a model that reads no segments.
        """
        check_segments(self.model, "this model")
        reported = np.arange(len(labels) + len(background)) < len(labels)
        named = self._with_classes([*labels, *background] if labels else [], image)
        return named.detect(self.prepare(image), reported)

    def _with_classes(self, labels: Sequence[str], image: np.ndarray) -> Labeller:
        """For these labels, and an image that is one."""
        if not labels:
            raise UserError('labels: give at least one, for example --labels "zebra, grass"')
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise UserError(
                f"image: expected uint8 [H, W, 3], found {image.dtype} {list(image.shape)}"
            )
        height, width = image.shape[:2]
        if self.labeller.reads.windows and max(height, width) > LENGTHY * min(height, width):
            raise UserError(
                f"image: {width} x {height} pixels: one side is more than {LENGTHY} times the "
                "other, which this model cannot segment; cut it into parts"
            )
        return self.labeller.with_classes(labels)


def read_image(path: Path | str) -> np.ndarray:
    """uint8 [H, W, 3] of an image file, by the same rules as download has them
    (`captionseg/images.py`).

    Raises:
        UserError: if it is missing, no image, too large to open safely, or of pixels whose range
            nobody knows.
    """
    try:
        return images.read_pixels(images.read_contents(path), name=str(path))
    except images.Unreadable as error:
        missing = str(error) == "no such file"
        raise UserError(f"{path}: {'' if missing else 'not a readable image: '}{error}") from None
