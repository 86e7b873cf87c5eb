"""The published benchmarks, by their names on the command line.

Class names, short sides, windows and thresholds are those of GroupViT's released evaluator and
CoCu's configurations. Their class names are MMSegmentation's, with some changes: pottedplant ->
plant, tvmonitor -> monitor, diningtable -> table; aeroplane -> airplane in Pascal Context only. TCL
and CoDe keep MMSegmentation's names and use windows of 448, 448, 224, as the protocol `tcl` does.
"""

from __future__ import annotations

import math
from pathlib import Path

from captionseg.benchmarks import any_folder
from captionseg.benchmarks.classification import ClassificationSet
from captionseg.benchmarks.folder_benchmark import FolderBenchmark
from captionseg.benchmarks.largest_object import LargestObject
from captionseg.benchmarks.layout import Layout
from captionseg.benchmarks.own_data import OwnData
from captionseg.benchmarks.own_folder import parse_values
from captionseg.benchmarks.own_split import HeldOut
from captionseg.benchmarks.parts import Parts
from captionseg.benchmarks.published import ade20k, cityscapes, coco, context, imagenet_s, voc
from captionseg.benchmarks.published.imagenet import ImageNet
from captionseg.benchmarks.published.part_imagenet import PartImageNet
from captionseg.inference.windows import WindowParams
from captionseg.records import UserError

Spec = Layout | OwnData | LargestObject | ImageNet | PartImageNet

PUBLISHED: dict[str, Spec] = {
    **voc.LAYOUTS,
    **context.LAYOUTS,
    **coco.LAYOUTS,
    **cityscapes.LAYOUTS,
    **ade20k.LAYOUTS,
    **imagenet_s.LAYOUTS,
    "imagenet": ImageNet(),
    "part_imagenet": PartImageNet(),
    "held_out": OwnData(),
    "largest_object": LargestObject(),
    **any_folder.LAYOUTS,
}
"""Name on the command line -> description of its files."""

OWN = "held_out"


def find_benchmark(name: str, own: str = "") -> Spec:
    """Find a benchmark by name.

    Args:
        name: key of PUBLISHED, or `own`.
        own: name of a checkout's own data.

    Raises:
        UserError: for any other name.
    """
    if own and name == own:
        return PUBLISHED[OWN]
    if name not in PUBLISHED:
        valid = [*PUBLISHED, *([own] if own else [])]
        raise UserError(f"--benchmark: {name!r} is not valid (valid: {', '.join(valid)})")
    return PUBLISHED[name]


def open_benchmark(
    spec: Spec, root: Path, *, limit: int = 0, ignore: str | None = None
) -> tuple[FolderBenchmark | HeldOut | ClassificationSet | Parts, int]:
    """Open a benchmark.

    Args:
        spec: description of the benchmark.
        root: folder of its files.
        limit: maximum number of pictures; 0 takes all.
        ignore: values of masks to ignore, comma-separated; only for a user's folder.

    Returns:
        the pictures, and the number of pictures before `limit`.

    Raises:
        UserError: for a folder that is missing or incomplete, and for invalid values.
    """
    if ignore is not None and not (isinstance(spec, Layout) and spec.own):
        raise UserError(
            f"--ignore: only for --benchmark folder; the mask values of {spec.title} are fixed"
        )
    if not isinstance(spec, Layout):
        return spec.open(root, limit=limit)
    values = None if ignore is None else parse_values(ignore, "--ignore")
    benchmark = FolderBenchmark.open(spec, root, limit=limit, ignore=values)
    return benchmark, benchmark.total


def windows_of(spec: Spec, text: str | None, protocol: str | None = None) -> WindowParams:
    """How models that read pixels see a picture: as a text such as 448,448,224 says, else as the
    protocol does, else as published for the benchmark.

    Args:
        spec: of the benchmark.
        text: of the user.
        protocol: name of one; `groupvit` takes the benchmark's windows, which were published with
            its evaluator.

    Raises:
        UserError: for any other text.
    """
    if text is None:
        own = spec.windows if isinstance(spec, Layout) else WindowParams()
        return own if protocol in (None, "groupvit") else WindowParams()
    try:
        short_side, crop, stride = (int(part) for part in text.split(","))
        if min(short_side, crop, stride) < 1:
            raise ValueError
        return WindowParams(short_side, crop, stride)
    except ValueError:
        raise UserError(
            f"--windows: {text!r} is not SHORT,CROP,STRIDE in pixels, with STRIDE at most CROP, "
            "such as 448,448,224"
        ) from None


def threshold_of(spec: Spec) -> float | None:
    """Return the background threshold published for GroupViT on a benchmark; None without one."""
    return spec.threshold if isinstance(spec, Layout) else None


def background_of(spec: Spec, text: str | None) -> float | None:
    """Parse the score of the background: a number, or `published`; None for None.

    Raises:
        UserError: for any other text, and if no score was published.
    """
    if text is None:
        return None
    if text == "published":
        if threshold_of(spec) is None:
            raise UserError(
                f"--background published: there is no published score for {spec.title}; give a "
                "number, or omit the option"
            )
        return threshold_of(spec)
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise UserError(f"--background: {text!r} is neither a number nor `published`")
    return score
