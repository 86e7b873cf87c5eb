"""Metrics as pure functions of arrays. mIoU is computed from areas summed over the data set, not as
a mean over images.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int64, Integer, Num, Shaped
from scipy import ndimage


def areas(
    predicted: Integer[np.ndarray, " ..."],
    true: Integer[np.ndarray, " ..."],
    classes: int,
    *,
    ignore: int = 255,
) -> Int64[np.ndarray, "3 {classes}"]:
    """Count the pixels of each class in one image: intersection, predicted area and true area.

    Args:
        predicted: labels below `classes`, same shape as `true`.
        true: labels; `ignore` pixels do not count.
        classes: how many there are.
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
            raise ValueError(
                f"{name} labels must be in 0..{classes - 1}, found {values.min()}..{values.max()}"
            )
    return np.stack(
        [
            np.bincount(p[p == t], minlength=classes),
            np.bincount(p, minlength=classes),
            np.bincount(t, minlength=classes),
        ]
    )


def iou(total: Num[np.ndarray, "*batch count class"]) -> Float[np.ndarray, "*batch class"]:
    """Intersection over union from summed `areas`, which other counts may follow; NaN for a class
    that is nowhere.
    """
    union = total[..., 1, :] + total[..., 2, :] - total[..., 0, :]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(union > 0, total[..., 0, :] / union, np.nan)


def mean_iou(
    total: Num[np.ndarray, "*batch count class"], classes: Bool[np.ndarray, " class"] | None = None
) -> Float[np.ndarray, " *batch"] | np.float64:
    """Return the mean of `iou` over classes that occur, in 0..1; `classes` restricts them."""
    values = iou(total)
    return mean_known(values if classes is None else values[..., classes])


def mean_known(
    values: Float[np.ndarray, "*batch class"],
) -> Float[np.ndarray, " *batch"] | np.float64:
    """Return the mean over the last axis without NaN; 0 if all are NaN."""
    finite = np.isfinite(values)
    return np.where(finite, values, 0.0).sum(-1) / np.maximum(finite.sum(-1), 1)


def pixel_accuracy(
    total: Num[np.ndarray, "*batch count class"],
) -> Float[np.ndarray, " *batch"] | np.float64:
    """Return the share of correct pixels."""
    return total[..., 0, :].sum(-1) / np.maximum(total[..., 2, :].sum(-1), 1)


def bootstrap(
    per_image: Shaped[np.ndarray, " image *each"], *, samples: int, seed: int
) -> Float64[np.ndarray, " {samples} *each"]:
    """Sum over images in each of `samples` bootstrap samples, drawn with replacement.

    Args:
        per_image: values to sum, such as areas.
        samples: number of bootstrap samples.
        seed: seed of the bootstrap.
    """
    count = len(per_image)
    weight = np.random.default_rng(seed).multinomial(
        count, np.full(count, 1.0 / count), size=samples
    )
    return np.einsum(
        "sn,n...->s...", weight.astype(np.float64), per_image.astype(np.float64), optimize=True
    )


def interval(values: Float[np.ndarray, " sample"], level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of bootstrap values."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


class Difference(NamedTuple):
    """The difference of two recipes A and B, with a paired bootstrap over the same images.

    Attributes:
        mean: A minus B on the original images.
        low, high: 95 % interval of the difference.
        better: share of bootstrap samples in which A is above B; ties count half.
    """

    mean: float
    low: float
    high: float
    better: float


def paired_difference(
    a: Num[np.ndarray, " ..."],
    b: Num[np.ndarray, " ..."],
    *,
    samples: int,
    seed: int,
    classes: Bool[np.ndarray, " class"] | None = None,
    resample_seeds: bool = False,
) -> Difference:
    """Compute the mIoU of A minus that of B, each a mean over trained seeds, with a paired
    bootstrap.

    Args:
        a: [n, seeds, 3, C] of `areas`.
        b: the same images in the same order; its seeds may differ.
        samples: number of bootstrap samples.
        seed: seed of the bootstrap.
        classes: see `mean_iou`.
        resample_seeds: draw the seeds of each recipe with replacement too, so that the interval
            also holds for other seeds than those that were trained.

    Raises:
        ValueError: if images or classes differ.
    """
    if a.ndim != 4 or b.ndim != 4 or a.shape[0] != b.shape[0] or a.shape[2:] != b.shape[2:]:
        raise ValueError(f"areas {a.shape} and {b.shape} are not of the same images and classes")
    drawn = [mean_iou(bootstrap(x, samples=samples, seed=seed), classes) for x in (a, b)]
    if resample_seeds:
        rng = np.random.default_rng([seed, 1])
        drawn = [
            np.take_along_axis(miou, rng.integers(x.shape[1], size=(samples, x.shape[1])), 1)
            for x, miou in zip((a, b), drawn, strict=True)
        ]
    difference = drawn[0].mean(-1) - drawn[1].mean(-1)
    mean = (mean_iou(a.sum(0), classes).mean() - mean_iou(b.sum(0), classes).mean()).item()
    return Difference(
        mean, *interval(difference), float((difference > 0).mean() + 0.5 * (difference == 0).mean())
    )


BAND = 0.0075
"""Tolerance of matching boundaries as a share of the diagonal, as in Csurka et al. 2013; DAVIS uses
.008.
"""


def boundary(labels: Shaped[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Pixels with a neighbour of another label above, below, left or right; what lies beyond the
    picture is no other label.
    """
    out = np.zeros(labels.shape, bool)
    for first, second in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differ = labels[first] != labels[second]
        out[first] |= differ
        out[second] |= differ
    return out


def boundary_matches(
    predicted: Integer[np.ndarray, "height width"],
    true: Integer[np.ndarray, "height width"],
    classes: int,
    *,
    ignore: int = 255,
    band: float = BAND,
) -> Int64[np.ndarray, "4 {classes}"]:
    """Boundary pixels of one image: of each class those predicted, of them those that a true one is
    near, those that are true, of them those that a predicted one is near.

    Borders may lie in what is ignored, such as the band along those of VOC's objects: ignored
    pixels have the true label of the nearest pixel with one, as far as boundaries may lie apart;
    those beyond count nowhere. A predicted boundary on ignored pixels counts only where it is
    right: it cannot be wrong there.

    Args:
        predicted: labels below `classes`.
        true: labels.
        classes: how many there are.
        ignore: label that is left out.
        band: share of the diagonal, rounded up to pixels, within which boundaries match (Euclidean
            distance).
    """
    void, reach = true == ignore, int(np.ceil(band * np.hypot(*true.shape)))
    if void.all():
        return np.zeros((4, classes), np.int64)
    inside = np.ones_like(void)
    if void.any():
        distance, nearest = ndimage.distance_transform_edt(void, return_indices=True)  # type: ignore[misc]
        true, inside = true[tuple(nearest)], distance <= reach
    maps = [np.asarray(labels, np.int32) for labels in (predicted, true)]
    predicted_edges, true_edges = (
        np.where(boundary(labels) & inside, labels, -1) for labels in maps
    )
    counts = []
    for edges, other in ((predicted_edges, true_edges), (true_edges, predicted_edges)):
        places = np.nonzero(edges >= 0)
        label, met = edges[places], has_near_edge(places, edges[places], other, reach)
        judged = met | ~void[places] if edges is predicted_edges else np.ones_like(met)
        counts += [np.bincount(label[rows], minlength=classes) for rows in (judged, met)]
    return np.stack(counts)


def has_near_edge(
    places: tuple[Int[np.ndarray, " edge"], ...],
    label: Int[np.ndarray, " edge"],
    edges: Int[np.ndarray, "height width"],
    reach: int,
) -> Bool[np.ndarray, " edge"]:
    """Return whether there is an edge of the same label within `reach` pixels of each place.

    Searches edge pixels in rings from the nearest outwards and drops matched places: most match
    immediately, and no distance maps are needed.

    Args:
        places: rows and columns.
        label: label of each place.
        edges: label of each edge pixel, -1 elsewhere.
        reach: in pixels.
    """
    steps = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1).T
    length = (steps**2).sum(1)
    order = np.argsort(length, kind="stable")
    padded = np.pad(edges, reach, constant_values=-1)
    width = padded.shape[1]
    flat, at = padded.ravel(), (places[0] + reach) * width + places[1] + reach
    met, open_ = np.zeros(len(label), bool), np.arange(len(label))
    for y, x in steps[order[: int((length <= reach**2).sum())]]:
        hit = flat[at[open_] + (y * width + x)] == label[open_]
        met[open_[hit]] = True
        open_ = open_[~hit]
        if not len(open_):
            break
    return met


def boundary_f(total: Num[np.ndarray, "*batch 4 class"]) -> Float[np.ndarray, "*batch class"]:
    """Harmonic mean of precision and recall of boundaries, from summed `boundary_matches`; NaN for
    a class without any. Summed over images first, as areas are (Csurka et al. 2013 average over
    images).
    """
    predicted, right, true, matched = np.moveaxis(total.astype(np.float64), -2, 0)
    precision, recall = right / np.maximum(predicted, 1), matched / np.maximum(true, 1)
    f = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return np.where(predicted + true > 0, f, np.nan)
