"""Score saved models on benchmarks outside any run: every seed, by whichever measure the benchmark has."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from captionseg.benchmarks import classification, parts
from captionseg.benchmarks.classification import Labelled
from captionseg.benchmarks.evaluate import Predict, count, per_class, scores
from captionseg.benchmarks.folder_benchmark import FolderBenchmark
from captionseg.benchmarks.held_out import HeldOut
from captionseg.benchmarks.layout import BACKGROUND
from captionseg.benchmarks.parts import Parts
from captionseg.benchmarks.ready import Asked, Ready, ready
from captionseg.benchmarks.recipe import threads
from captionseg.inference.windows import label, mask_logits
from captionseg.records import Inputs, UserError

Opened = FolderBenchmark | HeldOut | Labelled | Parts


class Found(NamedTuple):
    """What the seeds of a recipe came to.

    Attributes:
        result: scores, per_class, seeds, protocol; the same for the same models, pictures and arguments.
        speed: pictures per second, from the first picture read to the last one counted.
    """

    result: dict[str, Any]
    speed: float


def seeds_of(recipe: Path) -> dict[str, Path]:
    """Number -> folder of every trained seed of models/RECIPE.

    Raises:
        UserError: if there is none.
    """
    folder = recipe / "seeds"
    found = [path for path in folder.iterdir() if path.name.isdigit()] if folder.is_dir() else []
    if not found:
        raise UserError(f"{recipe}: no trained seed; train it first (`dvc repro`), or name one model with --model")
    return {path.name: path for path in sorted(found, key=lambda path: int(path.name))}


def evaluate(folders: Mapping[str, Path], encoder: Path, benchmark: Opened, asked: Asked) -> Found:
    """Score the models of a recipe, or one.

    Args:
        folders: seed -> folder of its model.
        encoder: folder of the frozen encoder that they were trained on.
        benchmark: whose inputs are made here.
        asked: how.

    Returns:
        result: {"scores", "per_class", "seeds": {N: the first of the scores}, "protocol"}.

    Raises:
        UserError: for a folder without a model, and what the benchmark says.
    """
    run, summed, prompts = MEASURES[type(benchmark)]
    seconds, found, said = 0.0, {}, {}
    for seed, folder in folders.items():
        model = ready(folder, encoder, benchmark.names, asked, default=prompts)
        start = time.perf_counter()
        with threads(1 if model.reads.regions else torch.get_num_threads()):
            found[seed] = run(model, benchmark, asked)
        seconds, said = seconds + time.perf_counter() - start, model.said
    measured, classes = summed(list(found.values()), benchmark, asked)
    main = next(iter(measured))
    each = {seed: summed([one], benchmark, replace(asked, bootstrap=1))[0][main] for seed, one in found.items()}
    result = {"scores": measured, "per_class": classes, "seeds": each, "protocol": said}
    return Found(result, len(folders) * len(benchmark) / seconds)


def areas_of(model: Ready, benchmark: FolderBenchmark | HeldOut, asked: Asked) -> np.ndarray:
    """[n, 3, C] int64 areas of every picture."""
    if isinstance(benchmark, FolderBenchmark):
        benchmark = replace(benchmark, encoder=model.frozen, maker=model.maker)
    pictures = benchmark.of(model.reads, model.settled.refine.method, model.settled.masks.build())
    return count(pictures, predictor(model))


def predictor(model: Ready) -> Predict:
    """Inputs of one picture -> labels [H, W] of a benchmark.

    Where the background is not prompted its label is 0, and the prompted classes count from 1.
    """
    background = model.background

    def predict(inputs: Inputs) -> np.ndarray:
        moved = inputs.map(lambda tensor: tensor.to(model.device))
        with torch.inference_mode():
            if background.policy == "constant" and background.score is not None:
                best, found = mask_logits(model.model, moved, model.classes, model.settled).max(0)
                found = found.masked_fill(best < background.score, -1)
            else:
                found = label(model.model, moved, model.classes, model.settled)
        return found.cpu().numpy() + (0 if background.prompted else 1)

    return predict


def summed_areas(runs: Sequence[np.ndarray], benchmark: FolderBenchmark | HeldOut,
                 asked: Asked) -> tuple[dict[str, float], dict[str, float]]:  # fmt: skip
    """`scores` and `per_class` of the areas of every seed; means by kinds of classes, and without the background."""
    groups = {kind: np.array(benchmark.kinds) == kind for kind in dict.fromkeys(benchmark.kinds)}
    if benchmark.names[0] == BACKGROUND:
        groups["foreground"] = np.array([name != BACKGROUND for name in benchmark.names])
    return (scores(runs, samples=asked.bootstrap, seed=asked.seed, groups=groups), per_class(runs, benchmark.names))


MEASURES: dict[type, tuple[Callable[..., Any], Callable[..., tuple[dict[str, float], dict[str, float]]], str]] = {
    FolderBenchmark: (areas_of, summed_areas, ""), HeldOut: (areas_of, summed_areas, ""),
    Labelled: (classification.ranks_of, classification.summed_ranks, classification.PROMPTS),
    Parts: (parts.precision_of, parts.summed_precision, ""),
}  # fmt: skip
"""Kind of benchmark -> what measures one model, what sums up all seeds (the first score is the main one), and the
template set of its own, if it has one."""


def listed(rows: Sequence[tuple[str, float]]) -> str:
    """Classes with their scores, on one line."""
    return ", ".join(f"{name} {value:.1f}" for name, value in rows)


NAMES = {"miou": "mIoU", "acc1": "accuracy", "map": "mask mAP"}
MORE = {"miou_std": "  sd over seeds", "miou_foreground": "  foreground", "pixel_accuracy": "pixel accuracy",
        "acc1_std": "  sd over seeds", "acc5": "  among five", "map_std": "  sd over seeds", "map_50": "  at IoU .5",
        "map_75": "  at IoU .75"}  # fmt: skip


def summary(result: Mapping[str, Any], speed: float, *, most: int = 5) -> list[str]:
    """Lines for a terminal: scores, worst and best classes, speed and protocol."""
    found, pictures, said = result["scores"], result["pictures"], result["protocol"]
    main, several = next(iter(found)), len(result["seeds"]) > 1
    low, high = (found.get(f"{main}_{end}") for end in ("low", "high"))
    interval = f"  (95 % {low:.2f} to {high:.2f})" if low is not None else ""
    lines = [f"{NAMES[main]:15} {found[main]:6.2f}{interval}"]
    lines += [f"{text:15} {found[key]:6.2f}" for key, text in MORE.items()
              if key in found and (several or not key.endswith("_std"))]  # fmt: skip
    order = sorted(result["per_class"].items(), key=lambda pair: (pair[1], pair[0]))
    some = "" if pictures["scored"] == pictures["of"] else f" of {pictures['of']}"
    background, windows = said["background"], said["windows"]
    how = [*([said["name"]] if "name" in said else []), f"prompts {said['prompts']}", f"refine {said['refine']}",
           f"background {background['policy']}"
           + (f" {background['score']:g}" if background["score"] is not None else "")]  # fmt: skip
    if windows:
        how.append("windows {short_side}, {crop}, {stride}".format(**windows))
    if said["masks"]:
        how.append(f"masks {said['masks']}")
    return [*lines, f"worst classes   {listed(order[:most])}", f"best classes    {listed(order[::-1][:most])}",
            f"pictures        {pictures['scored']}{some}, {speed:.2f} a second", f"protocol        {'; '.join(how)}",
            *(f"  not done      {line}" for line in said.get("skipped", []))]  # fmt: skip
