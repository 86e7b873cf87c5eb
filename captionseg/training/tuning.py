"""Scores on the tune split during training, on a coarse grid; only for choosing a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from captionseg.datasets.shards import decode_mask, read_classes
from captionseg.metrics import areas, mean_iou
from captionseg.model_inputs import Inputs
from captionseg.modeling.segmenter import InputSpec, Segmenter
from captionseg.prepared import LabelledPictures
from captionseg.training.loader import Folders


@dataclass(frozen=True)
class TuneSet:
    """The tune split: truth [n, side, side] uint8, class names, and the inputs of a part of its
    images.
    """

    inputs: Callable[[slice], Inputs]
    truth: np.ndarray
    names: tuple[str, ...]

    def mean_iou(
        self,
        model: Segmenter,
        class_embeddings: torch.Tensor,
        *,
        device: str = "cpu",
        batch: int = 50,
    ) -> float:
        """mIoU, 0 to 100, of a model that lies on `device`."""
        total = np.zeros((3, len(self.names)), np.int64)
        classes = class_embeddings.to(device)
        for start in range(0, len(self.truth), batch):
            part = slice(start, start + batch)
            with torch.inference_mode():
                inputs = self.inputs(part).map(lambda tensor: tensor.to(device))
                predicted = model.label(inputs, classes).cpu().numpy()
            total += areas(predicted, self.truth[part], len(self.names))
        return float(100.0 * mean_iou(total))


def load(
    folders: Folders, *, side: int, reads: InputSpec | None = None, split: str = "tune"
) -> TuneSet | None:
    """The tune split, or None where it is empty or its truth is not known.

    Args:
        folders: of the stages before.
        side: of the grid of truth.
        reads: of the model. Region features are held in memory; pictures, squashed to the side that
            the model is trained at, and dense features are read anew each time.
        split: which.
    """
    pictures = LabelledPictures.of_split(
        folders.prepared.index, folders.truth, split, pairs=folders.prepared.pairs
    )
    names = read_classes(folders.truth).names
    if not len(pictures) or not names:
        return None
    grid, size = (
        np.stack([nearest(decode_mask(mask), side) for mask in pictures.masks]),
        (side, side),
    )
    reads = reads or InputSpec()
    prepared = folders.prepared.inputs(reads, side=reads.picture)
    if not reads.regions:
        return TuneSet(lambda part: prepared(pictures.rows[part], size), grid, names)
    inputs = prepared(pictures.rows, size)
    return TuneSet(lambda part: inputs.map(lambda tensor: tensor[part]), grid, names)


def nearest(mask: np.ndarray, side: int) -> np.ndarray:
    """[side, side] labels at the centres of a grid of cells."""
    y, x = (((np.arange(side) + 0.5) * n / side).astype(int) for n in mask.shape)
    return mask[np.ix_(y, x)]
