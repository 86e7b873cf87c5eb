"""The one interface of every frozen image-text encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from captionseg.encoders.dense_head import DenseHead
from captionseg.encoders.text_tower import TextTower


@dataclass(frozen=True)
class Features:
    """What a frozen image tower says of B images; float32, not aligned with any text yet.

    Attributes:
        pooled: [B, P] image-level features; what the alignment maps into the joint space.
        descriptor: [B, R] L2-normalised; neighbours are searched by its inner product.
        dense: [B, h, w, F] one feature a cell of a regular grid over the whole image.
    """

    pooled: np.ndarray
    descriptor: np.ndarray
    dense: np.ndarray


@runtime_checkable
class Encoder(Protocol):
    """A frozen image-text encoder.

    Attributes:
        aligned: True where pooled and dense features are already in the space of `text` (CLIP);
            False where an Alignment has to be trained on captions (LiT).
        batch: how many images to give to `features` at once.
        fine: how many of the last channels of dense a reduction leaves as they are.
    """

    aligned: bool
    batch: int
    fine: int

    @property
    def head(self) -> DenseHead | None:
        """From dense features to the space of `text`; None where an Alignment has to be trained."""
        ...

    @property
    def text_tower(self) -> TextTower:
        """The text encoder, step by step.

        Raises:
            UserError: where it has not the form that this takes.
        """
        ...

    def towers(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """pooled [B, P] and dense [B, h, w, F] of float pixels [B, 3, H, W] in 0..255; gradients
        reach the pixels.
        """
        ...

    def features(self, images: Sequence[np.ndarray]) -> Features:
        """Features of uint8 images [H, W, 3] of any size; each is squashed to the encoder's
        square.
        """
        ...

    def text(self, texts: Sequence[str]) -> np.ndarray:
        """[T, D] float32, L2-normalised."""
        ...


def normalise(array: np.ndarray) -> np.ndarray:
    """Rows at length one along the last axis, in float32; a zero row stays zero."""
    array = array.astype(np.float32)
    return array / np.maximum(np.linalg.norm(array, axis=-1, keepdims=True), 1e-12)
