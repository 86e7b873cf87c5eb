"""How near a word may be to a label and still be its rival, on the tune split of a run (see
captionseg.inference.other_words): mIoU of a recipe where half of the classes in a picture are asked
for and the rest of it is none of them, and where "animal" or "bird" is asked for.

    python -m tests.soak.others --recipe cocu_calibrated-mil [--root .] [--contrast 0.25]
    python -m tests.soak.others --recipe cocu_levels-mil --photographs CAMVID [--half 1]

Not a part of the tests. Prints a column per threshold, in deviations above the mean; `off` gives
every pixel a label, and `inf` takes every other word for a rival. Means over seeds, on a grid of
56 x 56 pixels; the IoU of what is none of the labels counts as one class more.

The second form takes pictures, masks and classes of a folder, as `captionseg evaluate --benchmark
folder` reads them. Half of the classes in a picture are asked for, and every word of the training
may be a rival. It adds which share of the pixels of the other classes is left without a label, of
those that are asked for too, and which share of these gets its right label. `--half` takes every
second picture, from the first (0) or the second (1) on, so that a choice can be made on one half
and tried on the other.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from captionseg.benchmarks.any_folder import LAYOUTS
from captionseg.benchmarks.folder_benchmark import FolderBenchmark
from captionseg.benchmarks.own_data import OwnData
from captionseg.benchmarks.recipe import seeds_of
from captionseg.inference.contrast import contrast_labels
from captionseg.inference.labelling import Labeller
from captionseg.inference.other_words import find_rivals, read_concepts
from captionseg.inference.predictor import Predictor
from captionseg.inference.protocols import ScoringOptions
from captionseg.metrics import areas, mean_iou
from tests.soak.contrast import LEAST, SIDE, Picture, read_pictures

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
    parser.add_argument("--contrast", type=float, default=0.0)
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--half", type=int, choices=(0, 1))
    arguments = parser.parse_args(argv)
    if arguments.photographs:
        return measure_photographs(arguments)
    benchmark, _ = OwnData(split="tune").open(arguments.root)
    names = list(benchmark.names)
    found = []
    for folder in seeds_of(arguments.root / "models" / arguments.recipe).values():
        predictor, concepts = Predictor.load(folder, device="cpu"), read_concepts(folder.parents[1])
        asked = [*names, *KINDS]
        vectors = dict(zip(asked, predictor.embed_labels(asked), strict=True))
        rivals = Rivals([word for word in concepts if word in names], vectors, names)
        pictures = list(read_pictures(folder, arguments.root, benchmark.pictures, asked))
        share = arguments.contrast
        half = ask_half(pictures, rivals, len(names), share)[0]
        found.append([half, *(ask_kind(pictures, rivals, kind, share) for kind in KINDS)])
    write_table(("half of them", *KINDS), np.mean(found, 0))
    return 0


def measure_photographs(arguments: argparse.Namespace) -> int:
    """The second form, see above."""
    benchmark = FolderBenchmark.open(LAYOUTS["folder"], arguments.photographs)
    if arguments.half is not None:
        benchmark = replace(benchmark, items=benchmark.items[arguments.half :: 2])
    names, found = list(benchmark.names), []
    for folder in seeds_of(arguments.root / "models" / arguments.recipe).values():
        predictor, concepts = Predictor.load(folder, device="cpu"), read_concepts(folder.parents[1])
        words = [*names, *(word for word in concepts if word not in names)]
        vectors = dict(zip(words, predictor.embed_labels(words), strict=True))
        pictures = list(read_photographs(folder, benchmark, words))
        rivals = Rivals(concepts, vectors, words)
        found.append(ask_half(pictures, rivals, len(names), arguments.contrast))
    rows = ("mIoU", "others left", "asked left", "asked right")
    write_table(rows, np.mean(found, 0))
    write_table(("sd of mIoU",), np.std(found, 0, ddof=1)[:1])
    return 0


def read_photographs(
    folder: Path, benchmark: FolderBenchmark, words: list[str]
) -> Iterator[Picture]:
    """Yield the pictures of a benchmark with the logits of words by a model."""
    labeller = Labeller.load(folder, ScoringOptions(device="cpu"), names=words)
    opened = replace(benchmark, encoder=labeller.loaded.frozen, maker=labeller.maker)
    for sample in opened.of(labeller.reads).samples():
        truth = np.asarray(sample.truth)
        ys, xs = ((np.arange(SIDE) + 0.5) * size / SIDE for size in truth.shape)
        inputs = replace(sample.inputs, size=(SIDE, SIDE))
        yield (
            torch.from_numpy(labeller.logits(inputs)),
            truth[np.ix_(ys.astype(int), xs.astype(int))],
        )


def write_table(rows: Sequence[str], values: np.ndarray) -> None:
    """Write a row of values for each name, a column per threshold."""
    columns = ("off", *(f"{value:g}" for value in THRESHOLDS[1:]))
    sys.stdout.write(f"{'asked for':<16}{''.join(f'{c:>8}' for c in columns)}\n")
    for name, row in zip(rows, values, strict=True):
        sys.stdout.write(f"{name:<16}{''.join(f'{v:8.1f}' for v in row)}\n")


class Rivals:
    """Rivals of labels among the words that a model was asked for, by threshold.

    Args:
        concepts: that may be rivals.
        vectors: word -> its embedding.
        names: the words, as logits have them.
    """

    def __init__(
        self, concepts: list[str], vectors: dict[str, np.ndarray], names: list[str]
    ) -> None:
        self.concepts, self.vectors, self.names = concepts, vectors, names
        self.number = {name: number for number, name in enumerate(names)}
        self.known: dict[tuple[tuple[str, ...], float], list[int]] = {}

    def __call__(self, labels: Sequence[str], deviations: float) -> list[int]:
        """Numbers of the words that are rivals; nan takes none."""
        if math.isnan(deviations):
            return []
        key = tuple(sorted(labels)), deviations
        if key not in self.known:
            found = find_rivals(
                labels,
                self.concepts,
                lambda words: np.stack([self.vectors[word] for word in words]),
                deviations=deviations,
            )
            self.known[key] = [self.number[word] for word in found]
        return self.known[key]


def ask_half(
    pictures: list[Picture], rivals: Rivals, classes: int, share: float
) -> list[list[float]]:
    """Ask for half of the classes of each picture.

    Args:
        pictures: see `read_pictures`.
        rivals: of the model.
        classes: number of classes; the first of the words.
        share: of contrast.

    Returns:
        for each of THRESHOLDS, in percent: the mIoU, with what is none of the labels as a class;
        pixels of other classes that are left without a label; pixels of the labels that are; and
        pixels of the labels that get their right one.
    """
    rng = np.random.default_rng(0)
    total = np.zeros((len(THRESHOLDS), 3, classes + 1), np.int64)
    pixels = np.zeros((len(THRESHOLDS), 2, 3))  # of labels, of others: all, left, right
    for logits, truth in pictures:
        area = np.bincount(truth[truth < classes], minlength=classes)
        present = np.flatnonzero(area > LEAST * area.sum())
        labels = rng.permutation(present)[: max(1, len(present) // 2)]
        known = np.where(truth >= classes, 255, np.where(np.isin(truth, labels), truth, classes))
        for row, deviations in enumerate(THRESHOLDS):
            words = np.r_[labels, rivals([rivals.names[i] for i in labels], deviations)].astype(int)
            first = contrast_labels(logits[words], share).argmax(0).numpy()
            best = np.where(first < len(labels), words[first], classes)
            total[row] += areas(best[None], known[None].astype(np.uint8), classes + 1)
            for side, part in enumerate((known < classes, known == classes)):
                here, true = best[part], known[part]
                pixels[row, side] += part.sum(), (here == classes).sum(), (here == true).sum()
    shares = 100 * pixels[:, :, 1:] / pixels[:, :, :1]
    mious = [100 * float(mean_iou(part)) for part in total]
    return [mious, *np.stack([shares[:, 1, 0], shares[:, 0, 0], shares[:, 0, 1]]).tolist()]


def ask_kind(pictures: list[Picture], rivals: Rivals, kind: str, share: float) -> list[float]:
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
            compared = contrast_labels(logits[[label, *others]], share)
            best = (compared.argmax(0).numpy() > 0).astype(np.int64)
            total[row] += areas(best[None], known[None], 2)
    return [100 * float(mean_iou(part)) for part in total]


if __name__ == "__main__":
    sys.exit(main())
