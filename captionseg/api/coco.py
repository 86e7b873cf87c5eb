"""Segmentations as a data set in COCO's JSON: masks as compressed run lengths."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from captionseg.api.segmentation import Segmentation
from captionseg.records import UserError
from captionseg.segment_text.rle import encode_labels


class CocoWriter:
    """Collects segmentations of many pictures; the pictures themselves are not kept."""

    def __init__(self) -> None:
        self.labels: tuple[str, ...] | None = None
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []

    def add(self, result: Segmentation, *, file_name: str = "") -> None:
        """Add a picture, with an annotation for each label that covers a part of it.

        Args:
            result: its segmentation.
            file_name: name in the data set; empty takes its own.

        Raises:
            UserError: if its labels are not those of the pictures before.
        """
        if self.labels is None:
            self.labels = result.labels
        if self.labels != result.labels:
            raise UserError("COCO: all pictures of a data set need the same labels, in one order")
        height, width = result.mask.shape
        number = len(self.images) + 1
        name = file_name or result.name or str(number)
        self.images.append({"id": number, "file_name": name, "width": width, "height": height})
        rles, areas, boxes = encode_labels(result.mask, len(result.labels))
        for label, counts in enumerate(rles):
            if areas[label]:
                score = float(result.scores[label])
                self.annotations.append(
                    {
                        "id": len(self.annotations) + 1,
                        "image_id": number,
                        "category_id": label + 1,
                        "segmentation": {"size": [height, width], "counts": counts},
                        "area": int(areas[label]),
                        "bbox": [float(value) for value in boxes[label]],
                        "iscrowd": 0,
                        "score": round(score, 6) if math.isfinite(score) else None,
                    }
                )

    def write(self) -> dict[str, Any]:
        """Return the data set."""
        return {
            "info": {"description": "segmented by captionseg"},
            "images": self.images,
            "annotations": self.annotations,
            "categories": [
                {"id": number, "name": label, "supercategory": ""}
                for number, label in enumerate(self.labels or (), 1)
            ],
        }


def to_coco(results: Iterable[Segmentation]) -> dict[str, Any]:
    """Return segmentations of the same labels as one data set in COCO's JSON.

    Label c is category c + 1. An annotation is all of a label in a picture, with `segmentation`
    (compressed RLE), `area` in pixels, `bbox` (x, y, width, height) and `score`.

    Args:
        results: one for each picture.

    Raises:
        UserError: if their labels differ.
    """
    writer = CocoWriter()
    for result in results:
        writer.add(result)
    return writer.write()
