"""Scores all seeds of a recipe on a benchmark."""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from captionseg.benchmarks.benchmark import Folders
from captionseg.benchmarks.evaluate import AREAS, Predict, count, per_class, scores
from captionseg.benchmarks.mask_precision import MaskScores
from captionseg.benchmarks.own_split import HeldOut
from captionseg.benchmarks.params import EvaluateParams
from captionseg.benchmarks.segment_retrieval import Retrieval
from captionseg.encoders.encoder import Encoder
from captionseg.encoders.text_space import load_encoder
from captionseg.inference.labelling import Labeller
from captionseg.inference.protocols import ScoringOptions
from captionseg.inference.segment_model import SegmentModel
from captionseg.inference.windows import Protocol
from captionseg.model_inputs import Inputs
from captionseg.modeling.weights.saved import CONCEPTS
from captionseg.records import UserError

log = logging.getLogger(__name__)


class RecipeResult(NamedTuple):
    """The result of scoring a recipe.

    Attributes:
        result: {"scores", "per_class", "seeds": {N: mIoU}, "protocol": see `describe_protocol`}.
            For models that read segments, `MaskScores` and `Retrieval` add more. With
            `EvaluateParams.also`, "also" has the same for each of its protocols.
        areas: [n, seeds, 3, C], see `metrics.areas`.
        uids: [n] uids of the pictures.
        seeds: seeds of the models.
        images_per_second: speed by the main protocol.
    """

    result: dict[str, Any]
    areas: np.ndarray
    uids: list[str]
    seeds: list[int]
    images_per_second: float


def evaluate(
    model: Path, folders: Folders, params: EvaluateParams, *, seed: int, recipe: str = ""
) -> RecipeResult:
    """Score every seed of models/RECIPE; `recipe` is its name in params.yaml.

    The result is empty if the split has no true masks, as is common for a user's own data.
    """
    benchmark, seeds = HeldOut.load(folders, params.split), seeds_of(model)
    if not len(benchmark):
        log.warning("%s: no masks for split %r, so nothing is scored", folders.truth, params.split)
        return RecipeResult(
            {"scores": {}, "per_class": {}, "seeds": {}},
            np.zeros((0, len(seeds), 3, 0), np.int64),
            [],
            list(seeds),
            0.0,
        )
    frozen = functools.cache(lambda: load_encoder(folders.prepared.encoder))
    start = time.perf_counter()
    result, counts = score_by_protocol(
        model, folders, benchmark, params, params.main_protocol, frozen, seed=seed
    )
    speed = len(seeds) * len(benchmark) / (time.perf_counter() - start)
    others = {
        name: score_by_protocol(model, folders, benchmark, params, protocol, frozen, seed=seed)[0]
        for name, protocol in params.also_by(recipe).items()
    }
    areas = np.stack(counts, axis=1)[:, :, :AREAS]
    return RecipeResult(
        result | ({"also": others} if others else {}),
        areas,
        benchmark.pictures.uid,
        list(seeds),
        speed,
    )


def seeds_of(model: Path) -> dict[int, Path]:
    """Return seed -> folder of the models of a recipe, sorted by seed.

    Raises:
        UserError: if there is none.
    """
    folders = {int(p.name): p for p in (model / "seeds").glob("*") if p.name.isdecimal()}
    if not folders:
        raise UserError(f"{model}: no trained seed; run `dvc repro pretrain`")
    return dict(sorted(folders.items()))


def score_by_protocol(
    model: Path,
    folders: Folders,
    benchmark: HeldOut,
    params: EvaluateParams,
    protocol: Protocol,
    frozen: Callable[[], Encoder],
    *,
    seed: int,
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Score every seed of a recipe by one protocol.

    Returns:
        the result, see RecipeResult, and `count` of each seed.
    """
    seeds, counts = seeds_of(model), []
    options = ScoringOptions(protocol, device=params.device)
    masks, retrieval = MaskScores(benchmark, params.max_detections), Retrieval(benchmark, folders)
    for folder in seeds.values():
        labeller = Labeller.load(
            folder, options, names=benchmark.names, frozen=frozen, regions=False
        )
        pictures = benchmark.of(labeller.reads, labeller.refine, labeller.masks)
        detect = masks.seed(labeller.detect if labeller.segments else None)
        counts.append(count(pictures, limit_threads(labeller), detect))
        retrieval.seed(SegmentModel.of(labeller.loaded))
    groups = {kind: np.array(benchmark.kinds) == kind for kind in dict.fromkeys(benchmark.kinds)}
    groups |= seen_and_unseen(model, benchmark.names)
    result = {
        "scores": scores(counts, samples=params.bootstrap, seed=seed, groups=groups),
        "per_class": per_class(counts, benchmark.names),
        "seeds": {
            str(number): scores([of_seed], samples=1, seed=seed)["miou"]
            for number, of_seed in zip(seeds, counts, strict=True)
        },
        "protocol": labeller.description,
    }
    masks.add_to(result, labeller.segments)
    retrieval.add_to(result)
    return result, counts


def limit_threads(labeller: Labeller) -> Predict:
    """Return a function that predicts labels; with one thread of torch if the model reads regions.

    Matrix products of a few regions are too small for several threads, which would mostly wait.
    """
    if not labeller.reads.regions:
        return labeller.predict

    def predict(inputs: Inputs) -> np.ndarray:
        with use_threads(1):  # of the thread that predicts
            return labeller.predict(inputs)

    return predict


@contextlib.contextmanager
def use_threads(number: int) -> Iterator[None]:
    """Set the number of torch's CPU threads within the block, for the thread that it runs in."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def seen_and_unseen(model: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return which classes were named by training texts, and which not (OVSegmentor, Table 7).

    Args:
        model: folder of the recipe's models.
        names: names of the C classes.

    Returns:
        {"seen": [C] bool, "unseen": [C] bool}; empty if all classes are of one kind.
    """
    path = model / CONCEPTS
    known = set(path.read_text(encoding="utf-8").splitlines()) if path.exists() else set()
    seen = np.array([name.lower() in known for name in names])
    return {"seen": seen, "unseen": ~seen} if seen.any() and not seen.all() else {}
