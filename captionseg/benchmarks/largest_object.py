"""Zero-shot classification of the run's own pictures, as CoCu's Table 4 has it on ImageNet-1k."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from captionseg.benchmarks.classification import ClassificationSet, Item
from captionseg.benchmarks.own_data import OwnData
from captionseg.datasets.truth_masks import decode_mask
from captionseg.records import UserError


@dataclass(frozen=True)
class LargestObject:
    """The pictures of a checkout, each with the class of its largest object.

    Attributes:
        title: title for people.
        source: source of the classes.
        split: split that is scored.
    """

    title: str = "the run's own pictures by their largest object"
    source: str = (
        "masks that the stage download left: of the classes that are objects the one with most "
        "pixels; pictures without an object are left out; middle square of .875 of the short side"
    )
    split: str = "test"

    def open(self, root: Path, *, limit: int = 0) -> tuple[ClassificationSet, int]:
        """Open the benchmark.

        Args:
            root: root of the checkout.
            limit: maximum number of pictures, evenly spaced; 0 takes all.

        Returns:
            the pictures that show an object, and the number of pictures of the split.

        Raises:
            UserError: if a run has not made them, or none of them shows an object.
        """
        own, total = OwnData(split=self.split).open(root, limit=limit)
        objects = list_objects(own.kinds, len(own.names))
        items, rows = [], {}
        for uid, row, mask in zip(
            own.pictures.uid, own.pictures.rows.tolist(), own.pictures.masks, strict=True
        ):
            label = find_largest(decode_mask(mask), objects)
            if label is not None:
                items.append(Item(uid, own.folders.prepared.pairs, label))
                rows[uid] = row
        if not items:
            raise UserError(
                f"{own.folders.truth}: no picture of split {self.split!r} shows an object, so "
                "nothing can be scored"
            )
        stored = own.folders.prepared.pictures()
        names = tuple(own.names[number] for number in objects)
        return ClassificationSet(names, tuple(items), lambda item: stored[rows[item.uid]]), total


def list_objects(kinds: Sequence[str], count: int) -> list[int]:
    """Return the labels of the classes that are objects; all of them if kinds are not known.

    Args:
        kinds: [C] kinds of the classes; empty if unknown.
        count: number C of classes.
    """
    return [label for label in range(count) if not kinds or kinds[label] == "object"]


def find_largest(mask: np.ndarray, objects: Sequence[int]) -> int | None:
    """Return the position in `objects` of the label with most pixels, of equal ones the first.

    Args:
        mask: uint8 [H, W] labels.
        objects: labels that count.

    Returns:
        the position; None if the mask has none of them.
    """
    areas = np.bincount(mask.ravel(), minlength=256)[list(objects)]
    return int(areas.argmax()) if areas.any() else None
