"""Scores on the tune split while training, on a coarse grid: for choosing a checkpoint, never for reporting."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from captionseg.arrays import ShardedArray
from captionseg.datasets.shards import decode_mask, read_classes, read_truth
from captionseg.metrics import areas, mean_iou
from captionseg.modeling.segmenter import Segmenter
from captionseg.records import Inputs, read_arrays


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
                predicted = model.segment(inputs, classes).argmax(1).cpu().numpy()
            total += areas(predicted, self.truth[part], len(self.names))
        return float(100.0 * mean_iou(total))


def load_inputs(index: Path, regions: Path, rows: np.ndarray, size: tuple[int, int]) -> Inputs:
    """Model inputs of some rows of the index."""
    count = read_arrays(regions / "count")[rows]
    pooled = ShardedArray.of_folder(regions / "pooled")[rows].astype(np.float32)
    labels = ShardedArray.of_folder(regions / "labels")[rows]
    mask = np.arange(pooled.shape[1]) < count[:, None]
    return Inputs(torch.from_numpy(pooled), torch.from_numpy(mask), torch.from_numpy(labels), size)


def load(index: Path, regions: Path, truth: Path, *, side: int, split: str = "tune") -> TuneSet | None:
    """The tune split, or None where it is empty or its truth is not known."""
    ids = pq.read_table(index / "ids.parquet", columns=["uid", "split"])
    names = read_classes(truth).names
    known = read_truth(truth)
    masks = dict(zip(known["uid"].to_pylist(), known["mask"].to_pylist(), strict=True))
    uid, splits = ids["uid"].to_pylist(), ids["split"].to_pylist()
    rows = np.array([i for i, u in enumerate(uid) if splits[i] == split and u in masks], np.int64)
    if not len(rows) or not names:
        return None
    grid = np.stack([nearest(decode_mask(masks[uid[row]]), side) for row in rows])
    return TuneSet(load_inputs(index, regions, rows, (side, side)), grid, names)


def nearest(mask: np.ndarray, side: int) -> np.ndarray:
    """[side, side] labels at the centres of a grid of cells."""
    y, x = (((np.arange(side) + 0.5) * n / side).astype(int) for n in mask.shape)
    return mask[np.ix_(y, x)]
