"""Part segmentation (USE): the precision of masks of parts, detected among whole
objects and stuff.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage
from tqdm import tqdm

from captionseg.benchmarks.coco_json import Instance, mask_of
from captionseg.benchmarks.mask_precision import IOU, MaskPrecision
from captionseg.inference.detections import Detections
from captionseg.inference.image_files import read_image
from captionseg.inference.labelling import Labeller
from captionseg.inference.protocols import ScoringOptions
from captionseg.model_inputs import Inputs
from captionseg.records import UserError, one_line


class Item(NamedTuple):
    """One picture and its objects."""

    image: Path
    instances: tuple[Instance, ...]


@dataclass(frozen=True)
class Parts:
    """Pictures with masks of objects or parts, which may overlap.

    Attributes:
        names: [C] names of classes: first the scored ones, which have true masks, then those that
            only absorb the rest.
        scored: number of scored classes.
        items: the pictures.
        file: file of the masks.
    """

    names: tuple[str, ...]
    scored: int
    items: tuple[Item, ...]
    file: Path

    def __len__(self) -> int:
        return len(self.items)

    def truths(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield pictures uint8 [H, W, 3], their masks [m, H, W] bool, none empty, and classes [m].

        Raises:
            UserError: for a picture that cannot be read, and for an invalid mask.
        """
        for item in self.items:
            image, masks = read_image(item.image), []
            size = (image.shape[0], image.shape[1])
            for instance in item.instances:
                try:
                    masks.append(mask_of(instance.segmentation, size))
                except (ValueError, TypeError, KeyError) as error:
                    raise UserError(
                        f"{self.file}: a mask of {item.image.name} is {one_line(error)}"
                    ) from None
            stack = np.stack(masks) if masks else np.zeros((0, *size), bool)
            visible = stack.any((1, 2))
            labels = np.array([instance.label for instance in item.instances], np.int64)
            yield image, stack[visible], labels[visible]


def make_finder(
    model: Labeller, is_scored: np.ndarray, most: int
) -> Callable[[Inputs], Detections]:
    """Return the function from the inputs of a picture to detections of the scored classes.

    Detections of a model that reads segments are its masks; those of other models are connected
    components of its label map.

    Args:
        model: the model.
        is_scored: bool [C], which classes are scored.
        most: maximum number of connected components per class.
    """

    def find(inputs: Inputs) -> Detections:
        if model.segments:
            return model.detect(inputs, is_scored)
        logits = model.logits(inputs)
        return connected_components(logits.argmax(0), logits.max(0), is_scored, most=most)

    return find


def connected_components(
    labels: np.ndarray, scores: np.ndarray, is_scored: np.ndarray, *, most: int = 100
) -> Detections:
    """Find the connected components (4-connected) of scored classes of a label map.

    Args:
        labels: [H, W] labels.
        scores: [H, W] score of each pixel's label; the score of a component is their mean.
        is_scored: [C] bool, which classes are scored.
        most: maximum number of components per class, those with the highest scores.
    """
    masks, classes, means = [], [], []
    for c in np.unique(labels[is_scored[labels]]):
        piece = np.asarray(ndimage.label(labels == c)[0])  # type: ignore[index]
        mean = np.bincount(piece.ravel(), scores.ravel())[1:] / np.bincount(piece.ravel())[1:]
        best = np.argsort(-mean, kind="stable")[:most]
        masks += [piece == 1 + number for number in best]
        classes += [int(c)] * len(best)
        means += mean[best].tolist()
    stack = np.stack(masks) if masks else np.zeros((0, *labels.shape), bool)
    return Detections(stack, np.array(classes, np.int64), np.array(means, np.float32))


def measure_precision(model: Labeller, benchmark: Parts, options: ScoringOptions) -> MaskPrecision:
    """Collect the detections and true masks of all pictures."""
    prepare = model.preparation()
    is_scored = np.arange(len(benchmark.names)) < benchmark.scored
    find, precision = (
        make_finder(model, is_scored, options.most),
        MaskPrecision(benchmark.scored, most=options.most),
    )
    how = "masks" if model.segments else "connected pieces of the label map"
    model.description.update(detections=how, max_detections=options.most)
    for image, truth, classes in tqdm(
        benchmark.truths(), total=len(benchmark), desc="parts", unit="img", leave=False
    ):
        precision.add(find(prepare(image)), truth, classes)
    return precision


def summarise_precision(
    runs: Sequence[MaskPrecision], benchmark: Parts, options: ScoringOptions
) -> tuple[dict[str, float], dict[str, float]]:
    """Summarise the precision of all seeds, 0 to 100.

    Returns:
        map, map_50 and map_75 (COCO's), means over seeds, and map_std over seeds (n - 1); and AP of
        each class.
    """
    each = np.stack([100.0 * run.precision() for run in runs])  # [seeds, 10, C]; one truth for all
    present = np.flatnonzero(np.isfinite(each[0, 0]))
    rows: dict[str, Any] = {
        "map": slice(None),
        "map_50": [IOU.index(0.5)],
        "map_75": [IOU.index(0.75)],
    }
    out = {
        name: float(each[:, row][..., present].mean()) if len(present) else 0.0
        for name, row in rows.items()
    }
    seeds = each[..., present].mean((1, 2)) if len(present) else np.zeros(len(each))
    out["map_std"] = float(seeds.std(ddof=1)) if len(each) > 1 else 0.0
    classes = {benchmark.names[c]: round(float(each[:, :, c].mean()), 4) for c in present}
    return {name: round(value, 4) for name, value in out.items()}, classes
