"""COCO's mean average precision of masks, by COCO's own code."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from captionseg.benchmarks.benchmark import Benchmark, Sample
from captionseg.inference.detections import Detections
from captionseg.model_inputs import Inputs
from captionseg.segment_text.rle import encode
from captionseg.segmenters.mask_makers import MasksParams

IOU = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
"""Minimum IoU of a correct detection with a true mask; the mean is over all of these."""
Detect = Callable[[Inputs, np.ndarray], Detections]
"""Function from the inputs of one image, and which classes are scored [C] bool, to detections."""


class MaskPrecision:
    """Collects detections and true masks of pictures, and computes the average precision.

    For each class and minimum IoU, detections are visited in order of score. A detection is correct
    if its IoU with a true mask of its class, which no earlier detection has matched, is high
    enough. AP is the mean precision at 101 recalls. mAP is its mean over minimum IoUs and over
    classes with true masks.

    Args:
        classes: C, number of classes.
        most: maximum number of detections per picture and class, those with the highest scores.
    """

    def __init__(self, classes: int, *, most: int = 100) -> None:
        self.classes, self.most = classes, most
        self.pictures: list[dict[str, int]] = []
        self.detected: list[dict[str, Any]] = []
        self.true: list[dict[str, Any]] = []

    def add(self, detections: Detections, masks: np.ndarray, classes: np.ndarray) -> None:
        """Add a picture.

        Args:
            detections: its detections; empty masks do not count.
            masks: [m, H, W] bool true masks, none empty.
            classes: [m] classes of the true masks.
        """
        visible = detections.masks.any((1, 2))
        number, (height, width) = len(self.pictures), masks.shape[1:]
        rows = coco_rows(
            detections.masks[visible], detections.classes[visible], number, len(self.detected)
        )
        for row, score in zip(rows, detections.scores[visible].tolist(), strict=True):
            row["score"] = score
        self.detected += rows
        self.true += coco_rows(masks, classes, number, len(self.true))
        self.pictures.append({"id": number, "height": height, "width": width})

    def precision(self) -> np.ndarray:
        """Return the average precision in 0..1 at each of IOU, [10, C]; NaN for classes without
        true masks.
        """
        from pycocotools.cocoeval import COCOeval

        if not self.true:
            return np.full((len(IOU), self.classes), np.nan)
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
            judge = COCOeval(self._table(self.true), self._table(self.detected), "segm")
            judge.params.iouThrs, judge.params.maxDets = np.array(IOU), [self.most]
            judge.params.areaRng, judge.params.areaRngLbl = [[0, float("inf")]], ["all"]
            judge.evaluate()
            judge.accumulate()
        # [overlaps, recalls, C], -1 for a class without truth
        precision = judge.eval["precision"][:, :, :, 0, 0]
        return np.where((precision < 0).any(1), np.nan, precision.mean(1))

    def _table(self, rows: list[dict[str, Any]]) -> Any:
        """A COCO data set of annotations, in memory."""
        from pycocotools.coco import COCO

        table: Any = COCO()  # its type hints ask for more than it reads
        table.dataset = {
            "images": self.pictures,
            "annotations": rows,
            "categories": [{"id": number} for number in range(self.classes)],
        }
        table.createIndex()
        return table


def coco_rows(
    masks: np.ndarray, classes: np.ndarray, picture: int, before: int
) -> list[dict[str, Any]]:
    """Return COCO's annotations of masks of one picture.

    Args:
        masks: [n, H, W] bool.
        classes: [n] classes.
        picture: number of the picture.
        before: number of annotations of earlier pictures.
    """
    size = list(masks.shape[1:])
    return [
        {
            "id": before + row + 1,
            "image_id": picture,
            "category_id": int(classes[row]),
            "area": int(area),
            "iscrowd": 0,
            "ignore": 0,
            "segmentation": {"size": size, "counts": rle.encode("ascii")},
        }
        for row, (rle, area, _) in enumerate(zip(*encode(masks), strict=True))
    ]


class MaskScores:
    """Computes the mask precision of a recipe whose model reads segments, for each seed.

    There is one true mask for each class of objects in a picture; classes of stuff are background
    (as in USE's part segmentation).

    Args:
        benchmark: the pictures; nothing is scored if no class is an object.
        most: see MaskPrecision.
    """

    def __init__(self, benchmark: Benchmark, most: int) -> None:
        self.benchmark, self.most = benchmark, most
        self.things = np.array([kind == "object" for kind in benchmark.kinds], bool)
        self.each: list[MaskPrecision] = []
        self.covered: list[float] = []

    def seed(self, detect: Detect | None) -> Callable[[Sample], None] | None:
        """Add a seed, and return the function to call with every picture; None for a model that
        reads no segments.
        """
        if detect is None or not self.things.any():
            return None
        precision = MaskPrecision(len(self.things), most=self.most)
        self.each.append(precision)

        def look(sample: Sample) -> None:
            known = sample.truth != self.benchmark.ignore
            detections = detect(sample.inputs, self.things)
            precision.add(
                replace(detections, masks=detections.masks & known),
                *true_masks(sample.truth, self.things),
            )
            masks = sample.inputs.masks
            self.covered.append(1.0 if masks is None else float(masks[0].any(0).float().mean()))

        return look

    def add_to(self, result: dict[str, Any], segments: MasksParams | None) -> None:
        """Add the means over seeds to the result of a recipe, if any seed was scored.

        In `scores`: mask_map, mask_map_50, mask_map_75 and mask_coverage, the share of pixels in
        any mask. In `mask_ap`: AP of each class that occurs. All are 0 to 100. In `protocol`:
        masks, aggregate, max_detections.
        """
        if not self.each or segments is None:
            return
        # the classes with true masks are the same for all seeds
        ap = 100.0 * np.mean([precision.precision() for precision in self.each], axis=0)
        present = np.flatnonzero(np.isfinite(ap[0]))
        rows = {
            "mask_map": slice(None),
            "mask_map_50": IOU.index(0.5),
            "mask_map_75": IOU.index(0.75),
        }
        means = {
            name: float(ap[row][..., present].mean()) for name, row in rows.items() if len(present)
        }
        means["mask_coverage"] = 100.0 * float(np.mean(self.covered))
        result["scores"] |= {name: round(value, 4) for name, value in means.items()}
        result["mask_ap"] = {
            self.benchmark.names[c]: round(float(ap[:, c].mean()), 4) for c in present
        }
        result["protocol"] |= {
            "masks": segments.maker,
            "aggregate": segments.aggregate,
            "max_detections": self.most,
        }


def true_masks(truth: np.ndarray, is_scored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the true masks [m, H, W] bool and classes [m] of the scored classes of a picture.

    Args:
        truth: [H, W] labels.
        is_scored: [C] bool, which classes are scored.
    """
    classes = np.array(
        [c for c in np.unique(truth) if c < len(is_scored) and is_scored[c]], np.int64
    )
    return truth == classes[:, None, None], classes
