"""Scores on the tune split while training, on a coarse grid: for choosing a checkpoint, never for reporting."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from captionseg.datasets.shards import decode_mask, read_classes
from captionseg.metrics import areas, mean_iou
from captionseg.modeling.segmenter import Segmenter
from captionseg.prepared import Known, PreparedInputs
from captionseg.records import Inputs


@dataclass(frozen=True)
class TuneSet:
    """The tune split: inputs of all its images, truth [n, side, side] uint8 and class names."""

    inputs: Inputs
    truth: np.ndarray
    names: tuple[str, ...]

    def mean_iou(self, model: Segmenter, class_embeddings: torch.Tensor, *, device: str = "cpu",
                 batch: int = 50) -> float:
        """mIoU, 0 to 100, of a model that lies on `device`."""
        total, given = np.zeros((3, len(self.names)), np.int64), self.inputs
        classes = class_embeddings.to(device)
        for start in range(0, len(self.truth), batch):
            part = slice(start, start + batch)
            regions, mask, labels = (t[part].to(device) for t in (given.regions, given.region_mask, given.labels))
            inputs = Inputs(regions, mask, labels, given.size)
            with torch.inference_mode():
                predicted = model.label(inputs, classes).cpu().numpy()
            total += areas(predicted, self.truth[part], len(self.names))
        return float(100.0 * mean_iou(total))


def load(index: Path, regions: Path, truth: Path, *, side: int, split: str = "tune") -> TuneSet | None:
    """The tune split, or None where it is empty or its truth is not known."""
    known, names = Known.of_split(index, truth, split), read_classes(truth).names
    if not len(known) or not names:
        return None
    grid = np.stack([nearest(decode_mask(mask), side) for mask in known.masks])
    return TuneSet(PreparedInputs(regions)(known.rows, (side, side)), grid, names)


def nearest(mask: np.ndarray, side: int) -> np.ndarray:
    """[side, side] labels at the centres of a grid of cells."""
    y, x = (((np.arange(side) + 0.5) * n / side).astype(int) for n in mask.shape)
    return mask[np.ix_(y, x)]
