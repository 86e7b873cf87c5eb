"""Masks for boxes without weights: the regions of the picture that lie mostly inside the box."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from captionseg.grids import common_lengths, indicators
from captionseg.segmenters.felzenszwalb import Felzenszwalb
from captionseg.segmenters.interfaces import BoxSegmenter
from captionseg.typed import Share


@dataclass(frozen=True)
class Superpixels:
    """Makes masks of the regions whose share inside the box reaches a threshold.

    Background regions extend far beyond the box and are excluded; the regions of the object are
    inside. Stability is defined as in SAM: the IoU of the masks at the threshold plus and minus an
    offset.

    Attributes:
        share: minimum share of a region inside the box, in 0..1.
        offset: offset of the thresholds for the stability, below `share` and 1 - `share`.
        maker: makes the regions, unless they exist already.
    """

    share: Share = 0.75
    offset: Share = 0.15
    maker: Felzenszwalb = field(default_factory=Felzenszwalb)

    def __post_init__(self) -> None:
        if not 0 <= self.offset < min(self.share, 1 - self.share):
            raise ValueError(
                f"offset {self.offset} must be less than share {self.share} and 1 - share"
            )

    def build(self) -> BoxSegmenter:
        """Return itself, because nothing has to be loaded."""
        return self

    def masks(
        self, image: np.ndarray, boxes: np.ndarray, *, labels: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """See BoxSegmenter."""
        height, width = image.shape[:2]
        labels = self.maker.regions(image) if labels is None else labels
        scale = np.array([labels.shape[1] / width, labels.shape[0] / height] * 2)
        shares, area = share_inside_boxes(labels, np.asarray(boxes).reshape(-1, 4) * scale)
        low, mid, high = (shares >= self.share + d for d in (-self.offset, 0.0, self.offset))
        stability = (high @ area) / np.maximum(low @ area, 1) * mid.any(axis=1)
        return mid[:, upscale(labels, height, width)], stability.astype(np.float32)


def share_inside_boxes(labels: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of each region that lies in each box; cut pixels count in part.

    Args:
        labels: [H, W] ids of regions from 0.
        boxes: [n, 4] x0 y0 x1 y1 in pixels of `labels`.

    Returns:
        [n, regions] shares in 0..1, and [regions] areas in pixels.
    """
    member = indicators(labels, int(labels.max()) + 1).astype(np.float32)
    area = member.sum(axis=(1, 2))
    x, y = (
        common_lengths(boxes[:, [axis, axis + 2]], np.arange(length + 1)).astype(np.float32)
        for axis, length in enumerate(labels.shape[::-1])
    )
    return ((member @ x.T) * y.T).sum(axis=1).T / area, area


def upscale(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Upsample labels [h, w] to [height, width] by nearest neighbours of pixel centres."""
    rows = ((np.arange(height) + 0.5) * labels.shape[0] / height).astype(np.intp)
    columns = ((np.arange(width) + 0.5) * labels.shape[1] / width).astype(np.intp)
    return labels[rows[:, None], columns]
