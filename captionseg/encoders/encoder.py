"""The interface of all frozen image-text encoders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from captionseg.encoders.dense_head import DenseHead
from captionseg.encoders.text_tower import TextTower

if TYPE_CHECKING:
    from captionseg.encoders.reduction import Reduction


@dataclass(frozen=True)
class Features:
    """Frozen features of B images, float32, before any alignment with text.

    Attributes:
        pooled: [B, P] image-level features, which an alignment maps into the joint space.
        descriptor: [B, R] L2-normalised features for the search of similar images.
        dense: [B, h, w, F] features of a regular grid over the whole image.
    """

    pooled: np.ndarray
    descriptor: np.ndarray
    dense: np.ndarray


@runtime_checkable
class Encoder(Protocol):
    """A frozen image-text encoder.

    Attributes:
        aligned: whether pooled and dense features are in the space of `text` (CLIP); otherwise an
            Alignment is trained on captions (LiT).
        batch: number of images per call of `features`.
        fine: number of last dense channels that are not reduced.
    """

    aligned: bool
    batch: int
    fine: int

    @property
    def head(self) -> DenseHead | None:
        """Maps dense features to the space of `text`; None if an Alignment has to be trained."""
        ...

    @property
    def text_tower(self) -> TextTower:
        """The text encoder, step by step.

        Raises:
            UserError: for an unsupported text encoder.
        """
        ...

    def towers(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return pooled [B, P] and dense features [B, h, w, F] of float pixels [B, 3, H, W] in
        0..255, with gradients.
        """
        ...

    def features(self, images: Sequence[np.ndarray]) -> Features:
        """Return the features of uint8 images [H, W, 3] of any size, squashed to a square."""
        ...

    def text(self, texts: Sequence[str]) -> np.ndarray:
        """Embed T texts: [T, D] float32, L2-normalised."""
        ...


class ReducibleEncoder(Encoder, Protocol):
    """An encoder that reduces its dense features before they leave its device."""

    def features(
        self, images: Sequence[np.ndarray], reduction: Reduction | None = None
    ) -> Features:
        """See Encoder.

        Args:
            images: the images.
            reduction: reduces dense features; None for all channels.
        """
        ...


def normalise(array: np.ndarray) -> np.ndarray:
    """L2-normalise vectors [.., D], in float32; zero vectors stay zero."""
    array = array.astype(np.float32)
    return array / np.maximum(np.linalg.norm(array, axis=-1, keepdims=True), 1e-12)
