"""Sliding windows: large pictures piece by piece, overlaps averaged."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def starts(length: int, crop: int, stride: int) -> list[int]:
    """Where windows begin along one side: every `stride`, the last one moved back inside; one where all fits."""
    count = max(length - crop + stride - 1, 0) // stride + 1
    return [max(0, min(n * stride, length - crop)) for n in range(count)]


def slide(image: Tensor, predict: Callable[[Tensor], Tensor], *, crop: int, stride: int, batch: int = 8) -> Tensor:
    """[C, H, W]: mean of the predictions of all windows that cover a pixel.

    Args:
        image: [3, H, W]; a side shorter than `crop` is used as it is.
        predict: windows [B, 3, h, w] -> [B, C, h, w].
        crop: side of a window, in pixels.
        stride: from one window to the next, in pixels.
        batch: windows at once; the result does not depend on it.
    """
    height, width = image.shape[1:]
    h, w = min(crop, height), min(crop, width)
    corners = [(y, x) for y in starts(height, crop, stride) for x in starts(width, crop, stride)]
    total: Tensor | None = None
    count = image.new_zeros(1, height, width)
    for first in range(0, len(corners), batch):
        part = corners[first : first + batch]
        found = predict(torch.stack([image[:, y : y + h, x : x + w] for y, x in part]))
        total = found.new_zeros(found.shape[1], height, width) if total is None else total
        for (y, x), scores in zip(part, found, strict=True):
            total[:, y : y + h, x : x + w] += scores
            count[:, y : y + h, x : x + w] += 1
    assert total is not None
    return total / count


def short_side(image: Tensor, side: int, *, longest: int = 2048) -> Tensor:
    """[3, h, w]: resized (bilinear) until its short side is `side`, or its long side `longest`, if that is smaller."""
    height, width = image.shape[1:]
    scale = min(longest / max(height, width), side / min(height, width))
    size = (int(height * scale + 0.5), int(width * scale + 0.5))
    return F.interpolate(image[None], size, mode="bilinear", align_corners=False)[0]
