"""Score a recipe: all its seeds on a benchmark."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from captionseg.benchmarks import EvaluateParams
from captionseg.benchmarks.benchmark import Folders
from captionseg.benchmarks.evaluate import count, per_class, scores
from captionseg.benchmarks.held_out import HeldOut
from captionseg.encoders import TextSpace
from captionseg.modeling import saved
from captionseg.records import Inputs, UserError
from captionseg.runtime import detect
from captionseg.text.prompts import TEMPLATES, class_embeddings

log = logging.getLogger(__name__)


def evaluate(model: Path, folders: Folders, encoder: Path, params: EvaluateParams, *,
             seed: int) -> tuple[dict[str, Any], np.ndarray, float]:
    """Score every seed of models/RECIPE.

    Returns:
        {"scores", "per_class", "seeds": {N: mIoU}}; the areas [seeds, n, 3, C]; and images per second. Nothing is
        scored, and all of it is empty, where no mask of the split is known: data of one's own rarely have any.
    """
    benchmark = HeldOut.load(folders, params.split)
    seeds = sorted((model / "seeds").iterdir(), key=lambda p: int(p.name)) if (model / "seeds").is_dir() else []
    if not seeds:
        raise UserError(f"{model}: no trained seed; run `dvc repro pretrain`")
    if not len(benchmark):
        log.warning("%s holds no masks of split %r: nothing is scored", folders.truth, params.split)
        return {"scores": {}, "per_class": {}, "seeds": {}}, np.zeros((len(seeds), 0, 3, 0), np.int64), 0.0
    space = TextSpace.load(encoder)
    device = detect(params.device).device
    start, areas = time.perf_counter(), []
    for folder in seeds:
        found = saved.load(folder)
        classes = class_embeddings(benchmark.names, space.encode, TEMPLATES[found.context["prompts"]])
        areas.append(count(benchmark, predictor(found.model.to(device), torch.from_numpy(classes).to(device), device)))
    speed = len(seeds) * len(benchmark) / (time.perf_counter() - start)
    groups = {kind: np.array(benchmark.kinds) == kind for kind in dict.fromkeys(benchmark.kinds)}
    result = {
        "scores": scores(areas, samples=params.bootstrap, seed=seed, groups=groups),
        "per_class": per_class(areas, benchmark.names),
        "seeds": {folder.name: scores([a], samples=1, seed=seed)["miou"]
                  for folder, a in zip(seeds, areas, strict=True)},
    }
    return result, np.stack(areas), speed


def predictor(model: Any, classes: torch.Tensor, device: str):  # noqa: ANN201
    """Inputs of one image -> labels [H, W] by the best of the classes."""

    def predict(inputs: Inputs) -> np.ndarray:
        moved = Inputs(inputs.regions.to(device), inputs.region_mask.to(device), inputs.labels.to(device), inputs.size)
        with torch.inference_mode():
            return model.label(moved, classes)[0].cpu().numpy()

    return predict
