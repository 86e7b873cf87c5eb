"""Predicts labels of pictures, with numpy inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from captionseg import images
from captionseg.inference.class_embeddings import build_text_encoder
from captionseg.inference.detections import Detections
from captionseg.inference.labelling import Labeller
from captionseg.inference.loaded import LoadedModel, check_segments
from captionseg.inference.other_words import find_rivals, read_concepts
from captionseg.inference.protocols import ScoringOptions
from captionseg.inference.windows import Protocol, ResolvedProtocol
from captionseg.model_inputs import Inputs
from captionseg.modeling.capabilities import HasZeroShotChoices
from captionseg.records import UserError
from captionseg.remarks import quote, warn_once

LENGTHY = 32
"""Largest aspect ratio: windows are scaled to at most 2048 pixels along the long side, and the
short side needs a few patches.
"""


@dataclass(frozen=True)
class Predictor:
    """A trained model that segments pictures.

    Attributes:
        labeller: the model and its protocol; classes are given with each picture.
        prepare: converts a picture to inputs.
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
        """Load a model from a folder such as models/cocu-mil.

        Args:
            folder: its folder.
            device: auto, cpu, cuda or cuda:N.
            background: threshold for models with groups, instead of the saved one.
            protocol: how a picture is labelled; None uses what was saved with the model.

        Raises:
            UserError: if the folder has no model, or the model has no background threshold.
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
        # loaded now, so that missing files are reported before the first picture
        build_text_encoder(loaded.model, loaded.folder, loaded.frozen)
        return Predictor(labeller, labeller.preparation())

    def with_contrast(self, share: float) -> Predictor:
        """Return a predictor that takes a share of each label's mean over the picture from its
        scores, see captionseg.inference.contrast.
        """
        protocol = replace(self.protocol, contrast=share)
        return replace(self, labeller=replace(self.labeller, protocol=protocol))

    @property
    def model(self) -> Any:
        """The Segmenter."""
        return self.labeller.loaded.model

    @property
    def protocol(self) -> ResolvedProtocol:
        """How it labels."""
        return self.labeller.protocol

    def segment(
        self, image: np.ndarray, labels: Sequence[str], rivals: Sequence[str] = ()
    ) -> np.ndarray:
        """Return the number of the best label for each pixel of an image uint8 [H, W, 3], int16 [H,
        W].

        -1 if no label reaches the background threshold of the model, if it has one, or a rival is
        better than all labels.

        Args:
            image: the picture.
            labels: what is asked for.
            rivals: words for what is none of the labels, see `find_rivals`.

        Raises:
            UserError: for no labels, or an invalid image.
        """
        labeller = self._with_rivals(labels, rivals, image)
        pixels = labeller.label(self.prepare(image)).astype(np.int16)
        return np.where(pixels < len(labels), pixels, np.int16(-1))

    def measure(
        self, image: np.ndarray, labels: Sequence[str], rivals: Sequence[str] = ()
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the result of `segment`, and the score of the best word at each pixel, float32
        [H, W]; arguments as of `segment`.
        """
        labeller = self._with_rivals(labels, rivals, image)
        pixels, scores = labeller.label_and_score(self.prepare(image))
        found = pixels.astype(np.int16)
        return np.where(found < len(labels), found, np.int16(-1)), scores

    def _with_rivals(
        self, labels: Sequence[str], rivals: Sequence[str], image: np.ndarray
    ) -> Labeller:
        """Set labels and rivals; warn about a label that nothing competes with."""
        classes = [*labels, *rivals] if labels else []
        if len(classes) == 1 and self.protocol.background.score is None:
            warn_once(
                f"labels: with only {quote(labels[0])} and no background, every pixel gets this "
                "label; add labels for the rest of the picture"
            )
        return self._with_classes(classes, image)

    def find_rivals(self, labels: Sequence[str]) -> list[str]:
        """Find words of the model's training for what is none of the labels, see `find_rivals`."""
        concepts = read_concepts(self.labeller.loaded.folder)
        return find_rivals(labels, concepts, self.embed_labels)

    def embed_labels(self, labels: Sequence[str]) -> np.ndarray:
        """Return float32 [C, D] embeddings of labels, as pixels are compared with them."""
        classes = self.labeller.with_classes(labels).classes
        assert classes is not None
        return classes.float().cpu().numpy()

    def logits(self, image: np.ndarray, labels: Sequence[str]) -> np.ndarray:
        """Return mask logits float32 [C, H, W], cosines of pixels and labels; see `segment`."""
        return self._with_classes(labels, image).logits(self.prepare(image))

    def coarse_logits(self, image: np.ndarray, labels: Sequence[str], side: int) -> np.ndarray:
        """Return mask logits float32 [C, h, w] at a long side of at most `side` pixels; see
        `segment`. A background is left out.
        """
        labeller, inputs = self._with_classes(labels, image), self.prepare(image)
        size = images.shrink_size((image.shape[0], image.shape[1]), side)
        return labeller.logits(replace(inputs, size=size))[-len(labels) :]

    def detect(
        self, image: np.ndarray, labels: Sequence[str], background: Sequence[str] = ()
    ) -> Detections:
        """Detect masks that match a label, such as a part of a thing, better than any background
        class.

        Args:
            image: uint8 [H, W, 3].
            labels: labels to detect; `classes` are their numbers.
            background: other possible classes: things, stuff, or wholes of which labels are parts.

        Raises:
            UserError: see `segment`, and for a model that does not read segments.
        """
        check_segments(self.model, "this model")
        reported = np.arange(len(labels) + len(background)) < len(labels)
        named = self._with_classes([*labels, *background] if labels else [], image)
        return named.detect(self.prepare(image), reported)

    def _with_classes(self, labels: Sequence[str], image: np.ndarray) -> Labeller:
        """Check the image and set the labels."""
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
