"""How much contrast is best, on the tune split of a run: mIoU of a recipe for several shares (see
captionseg.inference.contrast), where the labels of a picture are the classes that are in it, and
some that are not.

    python -m tests.soak.contrast --recipe cocu_calibrated-mil [--root .] [--extra 0 1 3 8 all]

Not a part of the tests. Prints a row per number of further labels: means over seeds, on a grid of
56 x 56 pixels. A class counts as in a picture if it has 1 % of its labelled pixels; further labels
are drawn at random, and pictures with fewer than two labels are left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from captionseg.benchmarks.own_data import OwnData
from captionseg.benchmarks.recipe import seeds_of
from captionseg.datasets.truth_masks import decode_mask
from captionseg.inference.contrast import contrast_labels
from captionseg.inference.labelling import Labeller
from captionseg.inference.protocols import ScoringOptions
from captionseg.metrics import areas, mean_iou
from captionseg.prepared import LabelledPictures, PreparedInputs

SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
SIDE = 56
LEAST = 0.01
"""Share of the labelled pixels of a picture that a class in it has at least."""

Picture = tuple[torch.Tensor, np.ndarray]
"""Logits [C, SIDE, SIDE] of all classes, and the truth [SIDE, SIDE]."""


def main(argv: list[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.contrast", description=__doc__)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--root", type=Path, default=Path(), help="checkout with a finished run")
    parser.add_argument("--extra", nargs="+", default=["0", "1", "3", "8", "all"])
    arguments = parser.parse_args(argv)
    home = arguments.root / "models" / arguments.recipe
    benchmark, _ = OwnData(split="tune").open(arguments.root)
    names = list(benchmark.names)
    sys.stdout.write(f"{'labels':<14}{''.join(f'{share:>8g}' for share in SHARES)}\n")
    counts = [len(names) if extra == "all" else int(extra) for extra in arguments.extra]
    found = []
    for folder in seeds_of(home).values():
        pictures = list(read_pictures(folder, arguments.root, benchmark.pictures, names))
        found.append([measure(pictures, count, len(names)) for count in counts])
    for extra, values in zip(arguments.extra, np.mean(found, 0), strict=True):
        sys.stdout.write(f"{'in it, + ' + extra:<14}{''.join(f'{v:8.1f}' for v in values)}\n")
    return 0


def read_pictures(
    folder: Path, root: Path, pictures: LabelledPictures, names: list[str]
) -> Iterator[Picture]:
    """Yield the tune pictures with the logits of a model.

    Args:
        folder: of the model.
        root: of the checkout.
        pictures: of the benchmark.
        names: of its classes.
    """
    options = ScoringOptions(device="cpu")
    labeller = Labeller.load(folder, options, names=names, regions=False)
    data = root / "data"
    prepared = PreparedInputs(regions=data / "regions", features=data / "features")
    for row, png in zip(pictures.rows, pictures.masks, strict=True):
        mask = decode_mask(png)
        ys, xs = ((np.arange(SIDE) + 0.5) * size / SIDE for size in mask.shape)
        inputs = prepared(np.array([row]), (SIDE, SIDE))
        yield (
            torch.from_numpy(labeller.logits(inputs)),
            mask[np.ix_(ys.astype(int), xs.astype(int))],
        )


def measure(pictures: list[Picture], extra: int, classes: int) -> list[float]:
    """The mIoU in percent for each of SHARES.

    Args:
        pictures: see `read_pictures`.
        extra: number of labels that are not in the picture; at most all others.
        classes: number of all classes.
    """
    rng = np.random.default_rng(0)
    total = np.zeros((len(SHARES), 3, classes), np.int64)
    for logits, truth in pictures:
        area = np.bincount(truth[truth < classes], minlength=classes)
        present = np.flatnonzero(area > LEAST * area.sum())
        others = np.setdiff1d(np.arange(classes), present)
        labels = np.r_[present, rng.permutation(others)[:extra]]
        if len(labels) < 2:
            continue
        known = np.where(np.isin(truth, labels), truth, 255).astype(np.uint8)
        for number, share in enumerate(SHARES):
            best = contrast_labels(logits[labels], share).argmax(0).numpy()
            total[number] += areas(labels[best][None], known[None], classes)
    return [float(100 * mean_iou(part)) for part in total]


if __name__ == "__main__":
    sys.exit(main())
