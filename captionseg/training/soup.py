"""Trains a seed: one run, or a model soup (Wortsman et al., 2022), the mean of the weights of
several runs from one start.

Runs that begin at the same weights and differ by the order of pairs, draws and dropout end up near
each other, so the mean of their weights is a model, and one that depends less on chance. It costs
as many trainings and is as fast to use as a single run.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from captionseg.runtime import ranks
from captionseg.runtime.device import detect
from captionseg.runtime.launch import read_place
from captionseg.runtime.params import RuntimeParams
from captionseg.storage.writing import write_json, write_tensors
from captionseg.training.checkpoint import Score
from captionseg.training.curve import Curve, Tell
from captionseg.training.fit import FitResult, fit
from captionseg.training.params import PretrainParams
from captionseg.training.training_set import TrainingSet

log = logging.getLogger(__name__)
WEIGHTS, SCORES = "model.safetensors", "run.json"


def train_seed(
    model: torch.nn.Module,
    data: TrainingSet,
    params: PretrainParams,
    *,
    seed: int,
    score: Score | None,
    folder: Path,
    tell: Tell,
    runtime: RuntimeParams,
) -> FitResult:
    """Train a new model `pretrain.soup` times from its weights, and give it the mean weights.

    Runs that a killed process finished are read from `folder`/runs, which is removed at the end.
    The curve is that of the first run. Only on the first rank the model has the weights afterwards.

    Args:
        model: with its first weights.
        data: the training pairs.
        params: section `pretrain`.
        seed: of the first run; others derive theirs from it.
        score: model -> tune mIoU; None without a tune split.
        folder: of the seed.
        tell: called with every loss of the first run.
        runtime: section `runtime`.
    """
    if params.soup == 1:
        return train_run(
            model, data, params, seed=seed, score=score, folder=folder, tell=tell, runtime=runtime
        )
    main, runs = read_place(runtime).main, folder / "runs"
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    results: list[FitResult] = []
    for number in range(params.soup):
        result = read_run(runs / str(number)) if main else None
        if not ranks.share(result is not None):
            model.load_state_dict(start)
            result = train_run(
                model,
                data,
                params,
                seed=derive_seed(seed, number),
                score=score,
                folder=runs / str(number) if number else folder,
                tell=(lambda *_: None) if number else tell,
                runtime=runtime,
            )
            if main:
                save_run(runs / str(number), result)
        results += [result] if result else []
    if not main:
        return FitResult({}, float("nan"), float("nan"), 0.0, 0.0)
    model.load_state_dict(average_weights([result.state for result in results]))
    tune = score(model.eval().to(detect(params.device).device)) if score else float("nan")
    shutil.rmtree(runs)
    return summarise_runs(results, model.state_dict(), tune)


def train_run(
    model: torch.nn.Module,
    data: TrainingSet,
    params: PretrainParams,
    *,
    seed: int,
    score: Score | None,
    folder: Path,
    tell: Tell,
    runtime: RuntimeParams,
) -> FitResult:
    """Train a new model once, if it has anything to train, and give it its best weights.

    Checkpoints in `folder` are removed at the end. Only on the first rank the model has the best
    weights afterwards.
    """
    main = read_place(runtime).main
    if not any(p.requires_grad for p in model.parameters()):
        score_untrained = (
            score(model.eval().to(detect(params.device).device)) if score else float("nan")
        )
        return FitResult(model.state_dict(), score_untrained, float("nan"), 0.0, 0.0)
    curve = Curve(folder / "curve.csv", seed, tell) if main else Curve(None, seed, lambda *_: None)
    result = fit(
        model,
        data,
        params,
        seed=seed,
        score=score,
        curve=curve,
        work=folder / "checkpoints",
        runtime=runtime,
    )
    if main:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        model.load_state_dict(result.state)
    return result


def derive_seed(seed: int, run: int) -> int:
    """Return the seed of a run; that of the first run is the seed itself."""
    return seed if run == 0 else int(np.random.SeedSequence([seed, run]).generate_state(1)[0])


def average_weights(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of state dicts with the same names and shapes; of counters the last value."""
    return {
        name: torch.stack([state[name] for state in states]).mean(0)
        if last.is_floating_point()
        else last
        for name, last in states[-1].items()
    }


def save_run(folder: Path, result: FitResult) -> None:
    """Write a finished run, its scores last."""
    tensors = {name: tensor.contiguous() for name, tensor in result.state.items()}
    write_tensors(tensors, folder / WEIGHTS)
    scores = {"tune_miou": result.tune_miou, "loss": result.loss}
    write_json({name: value for name, value in scores.items() if value == value}, folder / SCORES)


def read_run(folder: Path) -> FitResult | None:
    """Read a run that a killed process finished; None if there is none that can be read."""
    try:
        scores = json.loads((folder / SCORES).read_text(encoding="utf-8"))
        state = load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError):
        return None
    nan = float("nan")
    return FitResult(state, scores.get("tune_miou", nan), scores.get("loss", nan), 0.0, 0.0)


def summarise_runs(
    results: Sequence[FitResult], state: dict[str, Tensor], tune_miou: float
) -> FitResult:
    """Return the result of a soup: the mean loss of its runs, and the time of all.

    Args:
        results: of the runs; those that were read from disk have no speed.
        state: mean of their weights.
        tune_miou: of the mean; NaN without a tune split. It is said if the runs had more.
    """
    alone = float(np.mean([result.tune_miou for result in results]))
    if tune_miou < alone:
        log.warning(
            "the mean of the weights of %d runs has a tune mIoU of %.1f, the runs have %.1f: "
            "weights can only be averaged near a common start, such as `start: aligned`; set "
            "pretrain.soup: 1",
            len(results),
            tune_miou,
            alone,
        )
    speeds = [result.images_per_second for result in results if result.images_per_second]
    return FitResult(
        state,
        tune_miou,
        float(np.mean([result.loss for result in results])),
        float(np.mean(speeds)) if speeds else 0.0,
        sum(result.seconds for result in results),
    )
