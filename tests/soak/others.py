"""How near a word may be to a label and still be its rival, on the tune split of a run (see
captionseg.inference.other_words): mIoU of a recipe where half of the classes in a picture are asked
for and the rest of it is none of them, and where "animal" or "bird" is asked for.

    python -m tests.soak.others --recipe cocu_calibrated-mil [--root .]

Not a part of the tests. Prints a column per threshold, in deviations above the mean; `off` gives
every pixel a label, and `inf` takes every other word for a rival. Means over seeds, on a grid of
56 x 56 pixels; the IoU of what is none of the labels counts as one class more.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np

from captionseg.benchmarks.own_data import OwnData
from captionseg.benchmarks.recipe import seeds_of
from captionseg.inference.other_words import find_rivals, read_concepts
from captionseg.inference.predictor import Predictor
from captionseg.metrics import areas, mean_iou
from tests.soak.contrast import LEAST, Picture, read_pictures

THRESHOLDS = (math.nan, math.inf, 3.0, 2.0, 1.5, 1.0, 0.5, 0.0)
BIRDS = """
duck gull guineafowl hen owl peacock penguin pigeon rooster turkey heron pelican vulture flamingo
"""
BEASTS = """
bear bison camel cat cow deer dog dolphin donkey elephant fox frog giraffe gnu goat gorilla
hippopotamus horse iguana kangaroo koala lion lobster orca otter pig rabbit seahorse sheep squirrel
tiger zebra grasshopper
"""
KINDS = {"bird": BIRDS.split(), "animal": [*BIRDS.split(), *BEASTS.split()]}


def main(argv: list[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.others", description=__doc__)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--root", type=Path, default=Path(), help="checkout with a finished run")
    arguments = parser.parse_args(argv)
    benchmark, _ = OwnData(split="tune").open(arguments.root)
    names = list(benchmark.names)
    found = []
    for folder in seeds_of(arguments.root / "models" / arguments.recipe).values():
        predictor, concepts = Predictor.load(folder, device="cpu"), read_concepts(folder.parents[1])
        asked = [*names, *KINDS]
        vectors = dict(zip(asked, predictor.embed_labels(asked), strict=True))
        rivals = Rivals(concepts, vectors, names)
        pictures = list(read_pictures(folder, arguments.root, benchmark.pictures, asked))
        found.append([ask_half(pictures, rivals), *(ask_kind(pictures, rivals, k) for k in KINDS)])
    columns = ("off", *(f"{value:g}" for value in THRESHOLDS[1:]))
    sys.stdout.write(f"{'asked for':<16}{''.join(f'{c:>8}' for c in columns)}\n")
    for name, values in zip(("half of them", *KINDS), np.mean(found, 0), strict=True):
        sys.stdout.write(f"{name:<16}{''.join(f'{v:8.1f}' for v in values)}\n")
    return 0


class Rivals:
    """Rivals of labels among the classes, by threshold."""

    def __init__(
        self, concepts: list[str], vectors: dict[str, np.ndarray], names: list[str]
    ) -> None:
        self.concepts = [concept for concept in concepts if concept in names]
        self.vectors, self.names = vectors, names

    def __call__(self, labels: list[str], deviations: float) -> list[int]:
        """Numbers of the classes that are rivals; nan takes none."""
        if math.isnan(deviations):
            return []
        found = find_rivals(
            labels,
            self.concepts,
            lambda words: np.stack([self.vectors[word] for word in words]),
            deviations=deviations,
        )
        return [self.names.index(word) for word in found]


def ask_half(pictures: list[Picture], rivals: Rivals) -> list[float]:
    """The mIoU in percent for each of THRESHOLDS where half of the classes are asked for."""
    rng, classes = np.random.default_rng(0), len(rivals.names)
    total = np.zeros((len(THRESHOLDS), 3, classes + 1), np.int64)
    for logits, truth in pictures:
        area = np.bincount(truth[truth < classes], minlength=classes)
        present = np.flatnonzero(area > LEAST * area.sum())
        labels = rng.permutation(present)[: max(1, len(present) // 2)]
        known = np.where(truth >= classes, 255, np.where(np.isin(truth, labels), truth, classes))
        for row, deviations in enumerate(THRESHOLDS):
            others = rivals([rivals.names[i] for i in labels], deviations)
            best = np.r_[labels, others][logits[np.r_[labels, others]].argmax(0).numpy()]
            best = np.where(np.isin(best, labels), best, classes)
            total[row] += areas(best[None], known[None].astype(np.uint8), classes + 1)
    return [float(100 * mean_iou(part)) for part in total]


def ask_kind(pictures: list[Picture], rivals: Rivals, kind: str) -> list[float]:
    """The mean IoU in percent of a kind of thing and of the rest, in pictures that show it."""
    classes = len(rivals.names)
    label = classes + list(KINDS).index(kind)
    members = [i for i, name in enumerate(rivals.names) if name in KINDS[kind]]
    total = np.zeros((len(THRESHOLDS), 3, 2), np.int64)
    for logits, truth in pictures:
        if not np.isin(truth, members).any():
            continue
        known = np.where(truth >= classes, 255, ~np.isin(truth, members)).astype(np.uint8)
        for row, deviations in enumerate(THRESHOLDS):
            others = rivals([kind], deviations)
            best = (logits[[label, *others]].argmax(0).numpy() > 0).astype(np.int64)
            total[row] += areas(best[None], known[None], 2)
    return [float(100 * mean_iou(part)) for part in total]


if __name__ == "__main__":
    sys.exit(main())
