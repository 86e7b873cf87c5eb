"""Scores saved models on benchmarks outside of a run: all seeds, by the measure of
the benchmark.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from captionseg.benchmarks import areas, classification, parts
from captionseg.benchmarks.classification import ClassificationSet
from captionseg.benchmarks.evaluate import count, per_class, scores
from captionseg.benchmarks.folder_benchmark import FolderBenchmark
from captionseg.benchmarks.layout import BACKGROUND
from captionseg.benchmarks.own_split import HeldOut
from captionseg.benchmarks.parts import Parts
from captionseg.benchmarks.recipe import limit_threads, use_threads
from captionseg.encoders.text_space import load_encoder
from captionseg.inference.labelling import Labeller
from captionseg.inference.loaded import check_segments
from captionseg.inference.protocols import ScoringOptions
from captionseg.storage.reading import read_json

OpenBenchmark = FolderBenchmark | HeldOut | ClassificationSet | Parts


class Evaluation(NamedTuple):
    """The scores of a recipe.

    Attributes:
        result: scores, per_class, seeds and protocol; they depend only on models, pictures and
            arguments.
        speed: pictures per second, without loading models.
        measured: seed -> measurements of its model; [n, 3, C] areas where pictures have masks.
    """

    result: dict[str, Any]
    speed: float
    measured: Mapping[str, Any] = {}


def evaluate(
    folders: Mapping[Any, Path], encoder: Path, benchmark: OpenBenchmark, options: ScoringOptions
) -> Evaluation:
    """Score the models of a recipe, or a single model.

    Args:
        folders: seed (or any key) -> folder of its model.
        encoder: folder of the frozen encoder of the models.
        benchmark: the benchmark.
        options: requested options.

    Returns:
        {"scores", "per_class", "seeds": {N: main score}, "protocol"}, and "data", the training
        data, if recorded; and the speed.

    Raises:
        UserError: for a folder without a model, and errors of the benchmark.
    """
    measure, combine, prompts = MEASURES[type(benchmark)]
    seconds, runs, description = 0.0, {}, {}
    frozen = functools.cache(lambda: load_encoder(encoder, device=options.device))
    for seed, folder in folders.items():
        model = Labeller.load(
            folder,
            options,
            names=benchmark.names,
            frozen=frozen,
            default=prompts,
            regions=not isinstance(benchmark, HeldOut),
        )
        if (
            options.protocol.masks
            and not options.protocol.name
            and options.protocol.masks.maker != "regions"
        ):
            check_segments(model.loaded.model, f"{folder}: its model")
        start = time.perf_counter()
        with use_threads(1 if model.reads.regions else torch.get_num_threads()):
            runs[str(seed)] = measure(model, benchmark, options)
        seconds, description = seconds + time.perf_counter() - start, model.description
    measured, classes = combine(list(runs.values()), benchmark, options)
    main = next(iter(measured))
    each = {
        seed: combine([run], benchmark, replace(options, bootstrap=1))[0][main]
        for seed, run in runs.items()
    }
    result = {
        "scores": measured,
        "per_class": classes,
        "seeds": each,
        "protocol": description,
        **training_data(folders),
    }
    return Evaluation(result, len(folders) * len(benchmark) / seconds, runs)


def write_areas(benchmark: FolderBenchmark, measured: Mapping[str, np.ndarray], path: Path) -> None:
    """Write the areas of all seeds of a recipe as stage evaluate does, for `difference`."""
    per_seed = np.stack(list(measured.values()), 1)  # [n, seeds, 3, C]
    uids = [item.uid for item in benchmark.items]
    areas.write(per_seed, uids, [int(seed) for seed in measured], path)


def training_data(folders: Mapping[Any, Path]) -> dict[str, Any]:
    """Return {"data": ...}, the data that the models were trained on, if recorded."""
    context = read_json(next(iter(folders.values())) / "config.json").get("context")
    data = context.get("data") if isinstance(context, dict) else None
    return {"data": data} if data else {}


def count_areas(
    model: Labeller, benchmark: FolderBenchmark | HeldOut, options: ScoringOptions
) -> np.ndarray:
    """Return the areas of each picture, [n, 3 or more, C] int64, see `count`."""
    if isinstance(benchmark, FolderBenchmark):
        benchmark = replace(benchmark, encoder=model.loaded.frozen, maker=model.maker)
    return count(benchmark.of(model.reads, model.refine, model.masks), limit_threads(model))


def summarise_areas(
    runs: Sequence[np.ndarray], benchmark: FolderBenchmark | HeldOut, options: ScoringOptions
) -> tuple[dict[str, float], dict[str, float]]:
    """Return `scores` and `per_class` of the areas of all seeds, with means over kinds of classes
    and without the background.
    """
    groups = {kind: np.array(benchmark.kinds) == kind for kind in dict.fromkeys(benchmark.kinds)}
    if benchmark.names[0] == BACKGROUND:
        groups["foreground"] = np.array([name != BACKGROUND for name in benchmark.names])
    return (
        scores(runs, samples=options.bootstrap, seed=options.seed, groups=groups),
        per_class(runs, benchmark.names),
    )


MEASURES: dict[
    type, tuple[Callable[..., Any], Callable[..., tuple[dict[str, float], dict[str, float]]], str]
] = {
    FolderBenchmark: (count_areas, summarise_areas, ""),
    HeldOut: (count_areas, summarise_areas, ""),
    ClassificationSet: (
        classification.rank_pictures,
        classification.summarise_ranks,
        classification.PROMPTS,
    ),
    Parts: (parts.measure_precision, parts.summarise_precision, ""),
}
"""Class of benchmark -> function that measures a model, function that summarises all seeds (the
first score is the main one), and the benchmark's own template set, if any.
"""


def format_scores(rows: Sequence[tuple[str, float]]) -> str:
    """Format classes with their scores on one line."""
    return ", ".join(f"{name} {value:.1f}" for name, value in rows)


NAMES = {"miou": "mIoU", "acc1": "accuracy", "map": "mask mAP"}
MORE = {
    "miou_std": "  sd over seeds",
    "miou_foreground": "  foreground",
    "pixel_accuracy": "pixel accuracy",
    "boundary_f": "boundary F",
    "acc1_std": "  sd over seeds",
    "acc5": "  among five",
    "map_std": "  sd over seeds",
    "map_50": "  at IoU .5",
    "map_75": "  at IoU .75",
}


def format_result(result: Mapping[str, Any], speed: float, *, most: int = 5) -> list[str]:
    """Format scores, worst and best classes, speed and protocol as lines for a terminal."""
    measured, pictures, protocol = result["scores"], result["pictures"], result["protocol"]
    main, several = next(iter(measured)), len(result["seeds"]) > 1
    low, high = (measured.get(f"{main}_{end}") for end in ("low", "high"))
    interval = f"  (95 % {low:.2f} to {high:.2f})" if low is not None else ""
    if pictures["scored"] < 2:  # every bootstrap sample is the same
        interval = "  (no interval: only one picture)"
    lines = [f"{NAMES[main]:15} {measured[main]:6.2f}{interval}"]
    lines += [
        f"{text:15} {measured[key]:6.2f}"
        for key, text in MORE.items()
        if key in measured and (several or not key.endswith("_std"))
    ]
    order = sorted(result["per_class"].items(), key=lambda pair: (pair[1], pair[0]))
    total = "" if pictures["scored"] == pictures["of"] else f" of {pictures['of']}"
    how = [
        *([protocol["name"]] if "name" in protocol else []),
        f"prompts {protocol['prompts']}",
        f"refine {protocol['refine']}",
    ]
    if background := protocol.get("background"):
        score = "" if background["score"] is None else f" {background['score']:g}"
        how.append(f"background {background['policy']}{score}")
    if contrast := protocol.get("contrast"):
        how.append(f"contrast {contrast:g}")
    if windows := protocol.get("windows"):
        how.append("windows {short_side}, {crop}, {stride}".format(**windows))
    if masks := protocol.get("masks"):
        how.append(f"masks {masks}")
    return [
        *lines,
        f"worst classes   {format_scores(order[:most])}",
        f"best classes    {format_scores(order[::-1][:most])}",
        f"pictures        {pictures['scored']}{total}, {speed:.2f} a second",
        f"protocol        {'; '.join(how)}",
        *(f"  not done      {line}" for line in protocol.get("skipped", [])),
    ]
