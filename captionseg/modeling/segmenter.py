"""The one interface of every segmentation model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

from captionseg.records import Batch, Inputs

Gather = Callable[[Tensor], Tensor]
"""[B, ...] of this rank -> [W*B, ...] of all ranks, this rank's part with gradient, in rank order."""


def alone(tensor: Tensor) -> Tensor:
    """The gather of a single rank: itself."""
    return tensor


class Segmenter(Protocol):
    """A trainable open-vocabulary segmentation model."""

    def __call__(self, batch: Batch) -> Any:
        """Everything that the losses need, as a dataclass of tensors."""
        ...

    def losses(self, outputs: Any, gather: Gather = alone, *, rank: int = 0) -> dict[str, Tensor]:
        """Named scalars; the loss is their sum. `rank` says which part of a gathered tensor is this rank's."""
        ...

    def segment(self, inputs: Inputs, class_embeddings: Tensor) -> Tensor:
        """Mask logits [B, C, height, width] for frozen text embeddings [C, D] of the class prompts."""
        ...

    def label(self, inputs: Inputs, class_embeddings: Tensor) -> Tensor:
        """[B, height, width] int64: `segment(...).argmax(1)`, by the shortest way that the model has."""
        ...
