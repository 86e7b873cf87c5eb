"""The scores that regions allow: those of a model that knows the truth but has to give every region
one class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from captionseg import metrics
from captionseg.benchmarks.benchmark import Folders
from captionseg.benchmarks.evaluate import scores
from captionseg.benchmarks.own_split import HeldOut
from captionseg.modeling.capabilities import ScoresRegions
from captionseg.modeling.models import MODELS
from captionseg.modeling.readout.regions import upsample_labels

if TYPE_CHECKING:
    from captionseg.reporting.artifacts import Artifacts


def measure_ceiling(run: Artifacts, split: str) -> dict[str, float]:
    """Return miou and pixel_accuracy, 0 to 100, of oracle labels on the regions of a split's
    pictures; empty if there are no true masks, or no scored recipe labels regions.
    """
    if not any(labels_regions(run.recipes[name].model) for name in run.scores):
        return {}
    benchmark = HeldOut.load(Folders(run.folders.prepared, run.folders.truth), split)
    areas = [
        metrics.areas(
            label_by_truth(upsample_labels(sample.inputs)[0].numpy(), sample.truth),
            sample.truth,
            len(benchmark.names),
            ignore=benchmark.ignore,
        )
        for sample in benchmark.samples()
    ]
    found = scores([np.stack(areas)], samples=1, seed=0) if areas else {}
    return {name: found[name] for name in ("miou", "pixel_accuracy") if name in found}


def labels_regions(model: str) -> bool:
    """Return whether all pixels of a region get the same scores from a model of MODELS."""
    return issubclass(MODELS[model][1], ScoresRegions)


def label_by_truth(region: np.ndarray, true: np.ndarray, *, ignore: int = 255) -> np.ndarray:
    """Give every region the class that covers most of it, the first of several; 0 where nothing is
    known.

    Args:
        region: number of each pixel's region, [H, W].
        true: true labels [H, W].
        ignore: label of pixels that do not count.

    Returns:
        labels [H, W].
    """
    known = true != ignore
    classes = int(true[known].max(initial=0)) + 1
    pairs = region[known].astype(np.int64) * classes + true[known]
    count = np.bincount(pairs, minlength=(int(region.max()) + 1) * classes)
    return count.reshape(-1, classes).argmax(1)[region]
