"""Evaluates predictions on a benchmark: counts pixels per class, and computes scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from tqdm import tqdm

from captionseg import metrics
from captionseg.benchmarks.benchmark import Benchmark, Sample
from captionseg.model_inputs import Inputs
from captionseg.runtime.threads import make_ahead

AREAS = 3
"""Number of rows of a picture's counts that are areas; the others are counts of boundaries."""
Predict = Callable[[Inputs], np.ndarray]
"""Function from the inputs of one image to labels [H, W]."""


def count(
    benchmark: Benchmark, predict: Predict, look: Callable[[Sample], None] | None = None
) -> np.ndarray:
    """Count pixels and boundaries of each picture, while a thread predicts the next one.

    Args:
        benchmark: the pictures.
        predict: predicts labels; called in the thread.
        look: called with every picture after its prediction, if given, likewise.

    Returns:
        [n, 7, C] int64: `metrics.areas`, then `metrics.boundary_matches`.
    """

    def predict_all() -> Iterator[tuple[Sample, np.ndarray]]:
        for sample in benchmark.samples():
            labels = predict(sample.inputs)
            if look is not None:
                look(sample)
            yield sample, labels

    found, classes, counts = make_ahead(predict_all()), len(benchmark.names), []
    for sample, labels in tqdm(
        found, total=len(benchmark), desc="evaluate", unit="img", leave=False
    ):
        areas = metrics.areas(labels, sample.truth, classes, ignore=benchmark.ignore)
        edges = metrics.boundary_matches(labels, sample.truth, classes, ignore=benchmark.ignore)
        counts.append(np.concatenate([areas, edges]))
    return np.stack(counts)


def scores(
    per_seed: Sequence[np.ndarray],
    *,
    samples: int,
    seed: int,
    groups: dict[str, np.ndarray] | None = None,
) -> dict[str, float]:
    """Compute dataset-wide scores: means over seeds, with a bootstrap interval over images.

    Args:
        per_seed: for each seed [n, 7, C] of `count`, or only the areas [n, 3, C].
        samples: number of bootstrap samples, with the same images for all seeds.
        seed: seed of the bootstrap.
        groups: name -> [C] bool, groups of classes.

    Returns:
        miou, miou_low and miou_high (95 %), miou_std over seeds (n - 1), pixel_accuracy, boundary_f
        (mean over classes that occur, if there are boundaries), and miou_NAME of each group; all 0
        to 100.
    """
    counts = np.stack(per_seed, axis=1)  # [n, seeds, 7, C]
    areas, total = counts[:, :, :AREAS], counts.sum(0)
    each = metrics.mean_iou(total)
    low, high = metrics.interval(
        metrics.mean_iou(metrics.bootstrap(areas, samples=samples, seed=seed)).mean(-1)
    )
    out = {
        "miou": each.mean(),
        "miou_low": low,
        "miou_high": high,
        "miou_std": each.std(ddof=1) if each.size > 1 else 0.0,
        "pixel_accuracy": metrics.pixel_accuracy(total).mean(),
    }
    if (
        total.shape[1] > AREAS
        and np.isfinite(boundary_f := metrics.boundary_f(total[:, AREAS:])).any()
    ):
        out["boundary_f"] = metrics.mean_known(boundary_f).mean()
    for name, classes in (groups or {}).items():
        out[f"miou_{name}"] = metrics.mean_iou(total, classes).mean()
    return {name: round(100.0 * float(value), 4) for name, value in out.items()}


def per_class(per_seed: Sequence[np.ndarray], names: Sequence[str]) -> dict[str, float]:
    """Return class name -> IoU (0 to 100), mean over seeds, without classes that do not occur.

    Args:
        per_seed: see `scores`.
        names: names of the classes.
    """
    values = np.stack([metrics.iou(counts.sum(0)) for counts in per_seed])
    known = np.isfinite(values)
    mean = np.where(known, values, 0.0).sum(0) / np.maximum(known.sum(0), 1)
    return {names[int(c)]: round(100.0 * float(mean[c]), 4) for c in np.flatnonzero(known.any(0))}
