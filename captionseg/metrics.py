"""Metrics: pure functions of arrays. mIoU is of the whole data set, from summed areas, never a mean over images."""

from __future__ import annotations

import numpy as np


def areas(predicted: np.ndarray, true: np.ndarray, classes: int, *, ignore: int = 255) -> np.ndarray:
    """Pixel counts of one image: [3, C] int64, intersection, predicted area and true area of each class.

    Args:
        predicted: integer labels below `classes`, same shape as `true`.
        true: integer labels; `ignore` pixels count nowhere.
        classes: C.
        ignore: label that is left out.

    Raises:
        ValueError: if the shapes differ, or a label is out of range.
    """
    if predicted.shape != true.shape:
        raise ValueError(f"prediction {predicted.shape} and truth {true.shape} differ in shape")
    valid = true != ignore
    p, t = predicted[valid].astype(np.int64), true[valid].astype(np.int64)
    for name, values in (("predicted", p), ("true", t)):
        if values.size and (values.min() < 0 or values.max() >= classes):
            raise ValueError(f"{name} labels must be in 0..{classes - 1}, found {values.min()}..{values.max()}")
    return np.stack([np.bincount(p[p == t], minlength=classes), np.bincount(p, minlength=classes),
                     np.bincount(t, minlength=classes)])


def iou(total: np.ndarray) -> np.ndarray:
    """[.., C] intersection over union from summed areas [.., 3, C]; NaN for a class that is nowhere."""
    union = total[..., 1, :] + total[..., 2, :] - total[..., 0, :]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(union > 0, total[..., 0, :] / union, np.nan)


def mean_iou(total: np.ndarray, classes: np.ndarray | None = None) -> np.ndarray:
    """[..] mean of `iou` over classes that occur, as a share of one; `classes` [C] bool restricts them."""
    values = iou(total)
    values = values if classes is None else values[..., classes]
    found = np.isfinite(values)
    return np.where(found, values, 0.0).sum(-1) / np.maximum(found.sum(-1), 1)


def pixel_accuracy(total: np.ndarray) -> np.ndarray:
    """[..] share of counted pixels that are right."""
    return total[..., 0, :].sum(-1) / np.maximum(total[..., 2, :].sum(-1), 1)


def bootstrap(per_image: np.ndarray, *, samples: int, seed: int) -> np.ndarray:
    """Summed areas of `samples` bootstrap data sets: images drawn with replacement.

    Args:
        per_image: [n, ..., 3, C].
        samples: how many data sets.
        seed: of the draws.

    Returns:
        [samples, ..., 3, C] float64.
    """
    count = len(per_image)
    weight = np.random.default_rng(seed).multinomial(count, np.full(count, 1.0 / count), size=samples)
    return np.einsum("sn,n...->s...", weight.astype(np.float64), per_image.astype(np.float64), optimize=True)


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap values."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
