"""A loaded model, as people use it from Python: pictures and words in, masks out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

import numpy as np

from captionseg.api.model_folders import find_folder
from captionseg.api.pictures import Picture, is_one, read
from captionseg.api.segmentation import Segmentation
from captionseg.records import UserError
from captionseg.text.label_names import LabelNames

if TYPE_CHECKING:
    from captionseg.inference.predictor import Predictor

CONTRAST = 0.25
"""Better than none on the tune split of the default data where all labels are in the picture or all
but one, and no worse with three that are not (docs/log.md, 2026-11-30).
"""
SIDE = 512  # long side of maps of scores, in pixels
ROWS = 64  # of a picture that are summed at once, so that they stay in the processor's cache


@dataclass(frozen=True)
class Words:
    """What pixels are compared with.

    Attributes:
        names: the labels.
        rivals: words for what is none of them.
    """

    names: LabelNames
    rivals: list[str]


@dataclass(frozen=True, eq=False)
class Model:
    """A model that segments pictures by words; `captionseg.load` makes one.

    Attributes:
        folder: that it was loaded from.
        predictor: its predictor, with the contrast that was asked for.
        contrast: share of contrast that was asked for; None has CONTRAST if nothing speaks against
            it.
        spelling: how a caller asks for other words, see `captionseg.inference.rivals`.
    """

    folder: Path
    predictor: Predictor = field(repr=False)
    contrast: float | None = None
    spelling: tuple[str, str] = ("other=True", "other=False")

    @property
    def name(self) -> str:
        """Name of its folder, which is that of its recipe."""
        return self.folder.resolve().name

    @property
    def concepts(self) -> list[str]:
        """Words of its training, the most frequent first; empty if they are not known."""
        from captionseg.inference.other_words import read_concepts

        return read_concepts(self.folder)

    @overload
    def segment(
        self, pictures: Picture, labels: Sequence[str], *, other: bool | None = None
    ) -> Segmentation: ...

    @overload
    def segment(
        self, pictures: Iterable[Picture], labels: Sequence[str], *, other: bool | None = None
    ) -> list[Segmentation]: ...

    def segment(
        self,
        pictures: Picture | Iterable[Picture],
        labels: Sequence[str],
        *,
        other: bool | None = None,
    ) -> Segmentation | list[Segmentation]:
        """Label each pixel of a picture, or of several.

        Args:
            pictures: a picture (see `captionseg.api.pictures.Picture`), or several of them.
            labels: words; several names of one label have semicolons between: "person; people".
            other: whether pixels stay unlabelled that another word of the model's training fits
                better than every label; None only with a single label and no background.

        Returns:
            the result; for several pictures a list.

        Raises:
            UserError: for labels or pictures that cannot be used.
        """
        if is_one(pictures) or not isinstance(pictures, Iterable):
            return next(self.stream([pictures], labels, other=other))  # type: ignore[list-item]
        return list(self.stream(pictures, labels, other=other))  # type: ignore[arg-type]

    def stream(
        self, pictures: Iterable[Picture], labels: Sequence[str], *, other: bool | None = None
    ) -> Iterator[Segmentation]:
        """Yield the result of each picture when it is ready, for more than fit into memory.

        Args:
            pictures: see `segment`.
            labels: see `segment`.
            other: see `segment`.
        """
        words = self.choose_words(labels, other=other)
        for picture in pictures:
            image, name = read(picture)
            yield self.segment_pixels(image, words, name=name)

    def choose_words(self, labels: Sequence[str], *, other: bool | None = None) -> Words:
        """Choose what pixels are compared with, and log which labels training never saw.

        Args:
            labels: see `segment`.
            other: see `segment`.

        Raises:
            UserError: for labels that cannot be used.
        """
        from captionseg.inference.rivals import choose_rivals
        from captionseg.inference.unknown_words import describe_unknown
        from captionseg.remarks import warn_once

        names = LabelNames.read(labels)
        single = len(names.labels) == 1
        rivals = choose_rivals(
            self.predictor, names.names, other, single=single, spelling=self.spelling
        )
        for line in describe_unknown(names.names, self.folder, self.predictor.embed_labels):
            warn_once(line)
        return Words(names, rivals)

    def segment_pixels(self, image: np.ndarray, words: Words, *, name: str = "") -> Segmentation:
        """Label each pixel of an image uint8 [H, W, 3].

        Args:
            image: the picture.
            words: see `choose_words`.
            name: of the picture.
        """
        names = words.names
        found, best = self._with_contrast().measure(image, names.names, words.rivals)
        if len(names.names) > len(names.labels):
            found = np.where(found < 0, np.int16(-1), names.owner[found])
        return Segmentation(
            names.labels, found, average_scores(found, best, len(names.labels)), image, name
        )

    def score(self, picture: Picture, labels: Sequence[str], *, side: int = SIDE) -> np.ndarray:
        """Return maps of how well each label fits, float32 [C, h, w], as they are compared.

        Args:
            picture: see `segment`.
            labels: see `segment`.
            side: long side of the maps in pixels.

        Raises:
            UserError: see `segment`.
        """
        if side < 1:
            raise UserError(f"side: expected at least 1 pixel, found {side}")
        words = Words(LabelNames.read(labels), [])
        return self.score_pixels(read(picture).image, words, side=side)

    def score_pixels(self, image: np.ndarray, words: Words, *, side: int = SIDE) -> np.ndarray:
        """Return `score` of an image uint8 [H, W, 3]."""
        names = words.names
        logits = self._with_contrast().coarse_logits(image, names.names, side)
        if len(names.names) == len(names.labels):
            return logits
        starts = np.searchsorted(names.owner, np.arange(len(names.labels)))
        return np.maximum.reduceat(logits, starts, axis=0)

    def _with_contrast(self) -> Predictor:
        """Return the predictor, with the default contrast if none was asked for and there is no
        background.
        """
        if self.contrast is None and self.predictor.protocol.background.score is None:
            return self.predictor.with_contrast(CONTRAST)
        return self.predictor


def average_scores(mask: np.ndarray, best: np.ndarray, count: int) -> np.ndarray:
    """Return the mean score of each label over its pixels, float32 [C]; NaN without a pixel.

    Args:
        mask: int16 [H, W], number of each pixel's label, -1 without one.
        best: float32 [H, W], score of that label.
        count: C.
    """
    area, total = np.zeros(count + 1, np.int64), np.zeros(count + 1)
    for top in range(0, len(mask), ROWS):
        number, score = mask[top : top + ROWS].ravel() + 1, best[top : top + ROWS].ravel()
        area += np.bincount(number, minlength=count + 1)
        total += np.bincount(number, score, count + 1)
    with np.errstate(invalid="ignore"):
        return (total / area).astype(np.float32)[1:]


def load(
    model: str | Path | None = None,
    *,
    device: str = "auto",
    background: float | None = None,
    contrast: float | None = None,
    refine: Literal["none", "pamr", "segments"] | None = None,
    masks: Literal["regions", "hierarchy"] | None = None,
) -> Model:
    """Load a model.

    Args:
        model: folder of a trained recipe, or of a GroupViT of transformers; or an address of MLflow
            such as models:/captionseg@champion. None takes the best model there is, see
            `find_model`.
        device: auto, cpu, cuda or cuda:N.
        background: pixels where no label reaches this score stay unlabelled, for models with
            groups; None as saved with the model.
        contrast: share of each label's mean over the picture that is taken from its scores, 0 to 1;
            None has .25, and 0 for models with a background.
        refine: how masks are refined; None as saved with the model.
        masks: what models that read segments label; None as saved with the model.

    Raises:
        UserError: without such a model.
    """
    return load_model(
        model, device=device, background=background, contrast=contrast, refine=refine, masks=masks
    )


def load_model(
    model: str | Path | None,
    *,
    device: str,
    background: float | None,
    contrast: float | None,
    refine: str | None,
    masks: str | None,
    spelling: tuple[str, str] = ("other=True", "other=False"),
) -> Model:
    """Load a model, see `load`; `spelling` as of Model."""
    from captionseg.runtime.start_up import collect_nothing

    folder = find_folder(model)
    with collect_nothing():
        from captionseg.inference.predictor import Predictor
        from captionseg.inference.refine import RefineParams
        from captionseg.inference.windows import Protocol
        from captionseg.segmenters.mask_makers import MasksParams
        from captionseg.typed import Share, build

    protocol = Protocol(
        refine=None if refine is None else build(RefineParams, {"method": refine}, "refine"),
        masks=None if masks is None else build(MasksParams, {"maker": masks}, "masks"),
        contrast=build(Share, contrast or 0.0, "contrast"),
    )
    predictor = Predictor.load(folder, device=device, background=background, protocol=protocol)
    return Model(folder, predictor, contrast, spelling)
