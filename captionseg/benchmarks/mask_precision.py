"""COCO's mean average precision of masks: detections against true masks, by COCO's own code."""

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
"""Least overlaps with a true mask that a detection is right at; the mean is over all of them."""
Detect = Callable[[Inputs, np.ndarray], Detections]
"""Inputs of one image and which classes are is_scored [C] -> what is found of them."""


class MaskPrecision:
    """Detections and true masks of any number of pictures, of any sizes, and the precision of the
    former.

    For each class and each least overlap, detections are visited from the highest score down; one
    is right if it overlaps a true mask of its class enough that none before it has taken. AP is the
    mean precision at 101 recalls, mAP its mean over overlaps and over the classes that are anywhere
    in the truth.

    Args:
        classes: C.
        most: so many detections of a picture and a class, those of highest score, count.
    """

    def __init__(self, classes: int, *, most: int = 100) -> None:
        self.classes, self.most = classes, most
        self.pictures: list[dict[str, int]] = []
        self.detected: list[dict[str, Any]] = []
        self.true: list[dict[str, Any]] = []

    def add(self, detections: Detections, masks: np.ndarray, classes: np.ndarray) -> None:
        """One picture more.

        Args:
            detections: in it; empty masks do not count.
            masks: [m, H, W] bool, the true ones, none empty.
            classes: [m] their classes.
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
        """[10, C] average precision in 0..1 at each of IOU; NaN for classes that are nowhere in the
        truth.
        """
        from pycocotools.cocoeval import COCOeval

        if not self.true:
            return np.full((len(IOU), self.classes), np.nan)
        with contextlib.redirect_stdout(io.StringIO()):  # it tells how it gets on
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
    """COCO's annotations of masks [n, H, W] of one picture, of which there are `before` in
    others.
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
    """Masks of things, found by a recipe whose model reads segments: COCO's precision, each seed by
    itself.

    The truth has one mask for each thing's class in a picture; the classes of stuff are background
    (USE's part segmentation).

    Args:
        benchmark: whose classes have kinds; nothing is scored where none is an object.
        most: see MaskPrecision.
    """

    def __init__(self, benchmark: Benchmark, most: int) -> None:
        self.benchmark, self.most = benchmark, most
        self.things = np.array([kind == "object" for kind in benchmark.kinds], bool)
        self.each: list[MaskPrecision] = []
        self.covered: list[float] = []

    def seed(self, detect: Detect | None) -> Callable[[Sample], None] | None:
        """One seed more: what is to be shown every picture; None where the model reads no
        segments.
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
        """Put into the result of a recipe what its seeds came to; nothing where none was looked at.

        scores: mask_map, mask_map_50, mask_map_75 and mask_coverage, the share of pixels that are
        in any mask; mask_ap: AP of each class that occurs; all 0 to 100, means over seeds.
        protocol: masks, aggregate, max_detections.
        """
        if not self.each or segments is None:
            return
        # one truth for all seeds
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
    """[m, H, W] bool and [m]: one mask for each is_scored class of a picture.

    Args:
        truth: [H, W] labels.
        is_scored: [C] bool.
    """
    classes = np.array(
        [c for c in np.unique(truth) if c < len(is_scored) and is_scored[c]], np.int64
    )
    return truth == classes[:, None, None], classes
