"""Score a saved model on a benchmark that lies in a folder, outside any run."""

from __future__ import annotations

import functools
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from captionseg.benchmarks.evaluate import Predict, count, per_class, scores
from captionseg.benchmarks.folder_benchmark import FolderBenchmark
from captionseg.benchmarks.layout import BACKGROUND
from captionseg.benchmarks.recipe import threads
from captionseg.encoders import load_encoder
from captionseg.inference.predictor import region_maker
from captionseg.inference.windows import Protocol, Settled, label, mask_logits
from captionseg.inference.words import class_vectors, prompt_name
from captionseg.modeling import saved
from captionseg.records import Inputs, UserError
from captionseg.runtime import detect
from captionseg.typed import replaced

Policy = Literal["none", "threshold", "constant", "word"]


@dataclass(frozen=True)
class Background:
    """How pixels become background.

    Attributes:
        policy: none where it is no class; threshold of a model that knows one; constant, a class more with the same
            logit everywhere, for any other model; word, the class named background like any other.
        score: of the two in between.
    """

    policy: Policy = "none"
    score: float | None = None

    @property
    def prompted(self) -> bool:
        """Whether the first class of a benchmark is prompted like the others."""
        return self.policy in ("none", "word")


def settle(model: Any, wanted: bool, score: float | None) -> Background:
    """The policy for a model, whose own threshold is set, or unset where the background is no class.

    Args:
        model: a Segmenter.
        wanted: whether the benchmark has a background class.
        score: that the user gave; None takes the model's, if it has one.

    Raises:
        UserError: for a score where there is no background.
    """
    choices = getattr(model.config, "zero_shot", None)
    if not wanted:
        if score is not None:
            raise UserError("--background: this benchmark has no background class; leave it out")
        if choices is not None:
            model.config = replaced(model.config, {"zero_shot": {"background": None}}, "config")
        return Background()
    if choices is None:
        return Background("word") if score is None else Background("constant", score)
    score = choices.background if score is None else score
    if score is None:
        return Background("word")
    model.config = replaced(model.config, {"zero_shot": {"background": score}}, "config")
    return Background("threshold", score)


def predictor(model: Any, classes: torch.Tensor, protocol: Settled, background: Background,
              device: str) -> Predict:  # fmt: skip
    """Inputs of one picture -> labels [H, W] of a benchmark.

    Args:
        model: a Segmenter, on its device.
        classes: [C, D] embeddings of the classes that are prompted.
        protocol: how a picture is labelled.
        background: its first label is then 0, and the prompted classes count from 1, unless it is prompted itself.
        device: that the model runs on.
    """

    def predict(inputs: Inputs) -> np.ndarray:
        moved = inputs.map(lambda tensor: tensor.to(device))
        with torch.inference_mode():
            if background.policy == "constant" and background.score is not None:
                best, found = mask_logits(model, moved, classes, protocol).max(0)
                found = found.masked_fill(best < background.score, -1)
            else:
                found = label(model, moved, classes, protocol)
        return found.cpu().numpy() + (0 if background.prompted else 1)

    return predict


def evaluate_folder(folder: Path, benchmark: FolderBenchmark, protocol: Protocol, *, device: str = "auto",
                    background: float | None = None, bootstrap: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Score the model of a folder such as models/cocu-mil.

    Args:
        folder: that holds it.
        benchmark: whose inputs are made here.
        protocol: how pictures are labelled; windows are taken as they are.
        device: auto, cpu, cuda or cuda:N.
        background: see `settle`.
        bootstrap: data sets drawn for the interval.
        seed: of the bootstrap.

    Returns:
        {"scores", "per_class", "protocol", "pictures", "images_per_second"}; the clock runs from the first picture read
        to the last one counted.

    Raises:
        UserError: for a folder without a model, and what the benchmark says.
    """
    where, found = detect(device).device, saved.load(folder)
    model, reads, context = found.model.to(where), found.model.config.reads, found.context
    frozen = functools.cache(lambda: load_encoder(folder / "encoder", device=device))
    chosen = settle(model, benchmark.background, background)
    try:
        settled, prompts = protocol.of(context), prompt_name(model, context["prompts"])
        masks = settled.masks.build()
        regions = (reads.labels and masks is None) or settled.refine.method == "segments"
        maker = region_maker(context["regions"]) if regions else None
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder}: not a model of this version of captionseg: config.json, context: {error}") from None
    names = benchmark.names if chosen.prompted else benchmark.names[1:]
    classes = class_vectors(model, folder, frozen, names, context["prompts"])
    pictures = replace(benchmark, encoder=frozen, maker=maker).of(reads, settled.refine.method, masks)
    start = time.perf_counter()
    with threads(1 if reads.regions else torch.get_num_threads()):
        areas = count(pictures, predictor(model, classes, settled, chosen, where))
    speed = len(pictures) / (time.perf_counter() - start)
    said = {"prompts": prompts, "refine": settled.refine.method, "background": asdict(chosen),
            "windows": asdict(settled.windows) if reads.windows else None,
            "masks": settled.masks.maker if reads.segments else None, "ignore": benchmark.ignore,
            "classes": benchmark.layout.names, "source": benchmark.layout.source}
    return {"scores": groups([areas], benchmark, bootstrap, seed), "per_class": per_class([areas], benchmark.names),
            "protocol": said, "pictures": {"scored": len(pictures), "of": benchmark.total}, "images_per_second": speed}


def groups(areas: list[np.ndarray], benchmark: FolderBenchmark, bootstrap: int, seed: int) -> dict[str, float]:
    """`scores` of a model, and the mean without the background where that is a class."""
    apart = {"foreground": np.array([name != BACKGROUND for name in benchmark.names])} if benchmark.background else {}
    return {key: value for key, value in scores(areas, samples=bootstrap, seed=seed, groups=apart).items()
            if key != "miou_std"}  # fmt: skip


def listed(rows: list[tuple[str, float]]) -> str:
    """Classes with their IoU, on one line."""
    return ", ".join(f"{name} {value:.1f}" for name, value in rows)


def summary(result: dict[str, Any], *, most: int = 5) -> list[str]:
    """Lines for a terminal: scores, worst and best classes, speed and protocol."""
    found, pictures, said = result["scores"], result["pictures"], result["protocol"]
    order = sorted(result["per_class"].items(), key=lambda pair: (pair[1], pair[0]))
    some = "" if pictures["scored"] == pictures["of"] else f" of {pictures['of']}"
    background, windows = said["background"], said["windows"]
    lines = [f"mIoU            {found['miou']:6.2f}  (95 % {found['miou_low']:.2f} to {found['miou_high']:.2f})"]
    if "miou_foreground" in found:
        lines.append(f"  foreground    {found['miou_foreground']:6.2f}")
    how = [f"prompts {said['prompts']}", f"refine {said['refine']}", f"background {background['policy']}"
           + (f" {background['score']:g}" if background["score"] is not None else "")]  # fmt: skip
    if windows:
        how.append("windows {short_side}, {crop}, {stride}".format(**windows))
    if said["masks"]:
        how.append(f"masks {said['masks']}")
    return [*lines, f"pixel accuracy  {found['pixel_accuracy']:6.2f}", f"worst classes   {listed(order[:most])}",
            f"best classes    {listed(order[::-1][:most])}",
            f"pictures        {pictures['scored']}{some}, {result['images_per_second']:.2f} a second",
            f"protocol        {'; '.join(how)}"]
