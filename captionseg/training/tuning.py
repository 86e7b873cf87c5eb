"""Scores on the tune split during training, on a coarse grid; only for choosing a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from captionseg.datasets.pair_tables import read_classes
from captionseg.datasets.random_access import Pictures
from captionseg.datasets.truth_masks import decode_mask
from captionseg.metrics import areas, mean_iou
from captionseg.model_inputs import Inputs
from captionseg.modeling.capabilities import HasZeroShotChoices
from captionseg.modeling.segmenter import InputSpec, Segmenter
from captionseg.prepared import LabelledPictures
from captionseg.training.loader import Folders


@dataclass(frozen=True)
class TuneSet:
    """The tune split.

    Attributes:
        inputs: returns the inputs of a part of its images.
        truth: [n, side, side] uint8 labels.
        names: names of the classes.
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
        """Return the mIoU of a model, 0 to 100; no pixel is background.

        Args:
            model: the model, on `device`.
            class_embeddings: [C, D] embeddings of the classes.
            device: device of the model.
            batch: number of images at once.
        """
        total = np.zeros((3, len(self.names)), np.int64)
        classes = class_embeddings.to(device)
        choices = (
            [replace(model.zero_shot, background=None)]
            if isinstance(model, HasZeroShotChoices)
            else []
        )
        for start in range(0, len(self.truth), batch):
            part = slice(start, start + batch)
            with torch.inference_mode():
                inputs = self.inputs(part).map(lambda tensor: tensor.to(device))
                predicted = model.label(inputs, classes, *choices).cpu().numpy()
            total += areas(predicted, self.truth[part], len(self.names))
        return float(100.0 * mean_iou(total))


def load(
    folders: Folders,
    *,
    side: int,
    reads: InputSpec | None = None,
    split: str = "tune",
    pictures: Pictures | None = None,
) -> TuneSet | None:
    """Load the tune split; None if it is empty or has no true masks.

    Args:
        folders: folders of earlier stages.
        side: side of the grid of labels.
        reads: what the model reads. Region features are kept in memory; pictures, squashed to the
            side of training pictures, and dense features are read each time.
        split: name of the split.
        pictures: those of the index's rows, if they are open already.
    """
    labelled = LabelledPictures.of_split(
        folders.prepared.index, folders.truth, split, pairs=folders.prepared.pairs
    )
    names = read_classes(folders.truth).names
    if not len(labelled) or not names:
        return None
    grid, size = (
        np.stack([nearest(decode_mask(mask), side) for mask in labelled.masks]),
        (side, side),
    )
    reads = reads or InputSpec()
    prepared = folders.prepared.inputs(reads, side=reads.picture, pictures=pictures)
    if not reads.regions:
        return TuneSet(lambda part: prepared(labelled.rows[part], size), grid, names)
    inputs = prepared(labelled.rows, size)
    return TuneSet(lambda part: inputs.map(lambda tensor: tensor[part]), grid, names)


def nearest(mask: np.ndarray, side: int) -> np.ndarray:
    """Return the labels [side, side] at the centres of a grid of cells, of a mask [H, W]."""
    y, x = (((np.arange(side) + 0.5) * n / side).astype(int) for n in mask.shape)
    return mask[np.ix_(y, x)]
