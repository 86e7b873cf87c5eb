"""Trains a recipe: loads its data, trains each seed, saves the models and their curves."""

from __future__ import annotations

import functools
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from captionseg.encoders.encoder import Encoder
from captionseg.encoders.reduction import FILE as REDUCTION
from captionseg.encoders.text_space import load_encoder
from captionseg.inference.words import TOKENIZER, class_vectors, tokenizer_of
from captionseg.modeling.models import MODELS
from captionseg.modeling.segmenter import InputSpec, Sizes, Start
from captionseg.modeling.weights import saved
from captionseg.modeling.weights.saved import CONCEPTS
from captionseg.recipes import Recipe
from captionseg.records import UserError, one_line
from captionseg.runtime import ranks
from captionseg.runtime.device import detect
from captionseg.runtime.launch import read_place
from captionseg.runtime.params import RuntimeParams
from captionseg.storage.reading import read_json
from captionseg.storage.writing import atomic_path, write_json
from captionseg.text.prompts import read_templates
from captionseg.text.vocabulary import Vocabulary, find_plurals
from captionseg.training import loader, tuning
from captionseg.training.checkpoint import Score
from captionseg.training.curve import Curve, Tell
from captionseg.training.fit import ALONE, FitResult, check_runtime, fit
from captionseg.training.loader import Folders, TrainingSet
from captionseg.training.model_card import write_card
from captionseg.training.params import PretrainParams, model_config, protocol_fields
from captionseg.typed import replace_fields

log = logging.getLogger(__name__)


def pretrain(
    recipe: Recipe,
    params: PretrainParams,
    folders: Folders,
    *,
    name: str,
    context: dict[str, Any],
    out: Path,
    tell: Tell,
    runtime: RuntimeParams = ALONE,
) -> dict[str, float]:
    """Train every seed of a recipe that has not been trained in `out` yet.

    Every rank calls it alike; those after the first train, and write and tell nothing.

    Args:
        recipe: what to train.
        params: how.
        folders: inputs.
        name: of the recipe.
        context: saved with each model: what it takes to prepare a picture for it.
        out: seeds/N/{model.safetensors, config.json, curve.csv, fit.json}; the seed that is best on
            tune again at its top, with the encoder's description and README.md, so that the folder
            is all that a predictor needs. The same bytes for the same seed: how long it took is
            only returned.
        tell: is told every loss.
        runtime: where.

    Returns:
        loss and tune mIoU as means over seeds; images per second and seconds over the seeds that
        were trained now. Nothing on ranks after the first.
    """
    params = replace_fields(params, recipe.training, f"recipes.{name}.training")
    config = model_config(recipe, params, where=f"recipes.{name}")
    check_runtime(params, runtime)
    context = {**context, **protocol_fields(recipe, where=f"recipes.{name}")}
    with ranks.join_ranks(runtime, params.device) as here:
        speeds = train(
            recipe,
            config,
            params,
            folders,
            out=out,
            context={**context, "recipe": name},
            tell=tell,
            runtime=runtime,
        )
        if not here.main:
            return {}
        fits = {seed: read_json(out / "seeds" / str(seed) / "fit.json") for seed in params.seeds}
        best = max(fits, key=lambda s: fits[s].get("tune_miou", 0.0))
        for file in ("model.safetensors", "config.json"):
            shutil.copyfile(out / "seeds" / str(best) / file, out / file)
        save_tokenizer(config.reads, out)
        if config.reads.encoder:
            copy_encoder(folders.prepared.encoder, out / "encoder")
        write_card(
            out / "README.md", recipe, params, fits, best=best, context={**context, "recipe": name}
        )
        means = {
            key: float(np.mean([f[key] for f in fits.values()]))
            for key in next(iter(fits.values()))
        }
        speed, seconds = zip(*speeds, strict=True) if speeds else ((0.0,), (0.0,))
        return {**means, "images_per_second": float(np.mean(speed)), "seconds": float(sum(seconds))}


def train(
    recipe: Recipe,
    config: Any,
    params: PretrainParams,
    folders: Folders,
    *,
    out: Path,
    context: dict[str, Any],
    tell: Tell,
    runtime: RuntimeParams,
) -> list[tuple[float, float]]:
    """The seeds that the first rank has no fit.json of; images per second and seconds of each."""
    asks, main = config.reads, read_place(runtime).main
    frozen = functools.cache(lambda: load_encoder(folders.prepared.encoder))
    data = loader.load(
        folders,
        curation=recipe.curation,
        archive=recipe.archive,
        reads=asks,
        encode=frozen().text if asks.masking and not asks.tokens else None,
        device=params.device,
    )
    score = None
    if main:
        score = make_tune_score(
            params, folders, asks, lambda: data.space.encoder if data.space else frozen()
        )
        write_concepts(data, out)
    speeds = []
    for seed in ranks.share(
        [s for s in params.seeds if not (main and is_finished(out / "seeds" / str(s)))]
    ):
        folder = out / "seeds" / str(seed)
        torch.manual_seed(seed)
        model = build_model(recipe.model, config, data)
        result = train_seed(
            model, data, params, seed=seed, score=score, folder=folder, tell=tell, runtime=runtime
        )
        if not main:
            continue
        saved.save(folder, recipe.model, model, {**context, "seed": seed})
        save_tokenizer(asks, folder)
        speeds.append((result.images_per_second, result.seconds))
        scores = {"loss": result.loss, "tune_miou": result.tune_miou}
        write_json({k: v for k, v in scores.items() if v == v}, folder / "fit.json")
    return speeds


def is_finished(folder: Path) -> bool:
    """Return whether a seed was trained and its files are readable."""
    if not (folder / "fit.json").exists():
        return False
    try:
        for name in ("fit.json", "config.json"):
            json.loads((folder / name).read_text())
        with safe_open(folder / "model.safetensors", framework="numpy") as file:
            return len(file.keys()) > 0
    except (FileNotFoundError, ValueError, SafetensorError) as error:
        log.warning(
            "%s: cannot be read (%s), so this seed is trained again", folder, one_line(error)
        )
        return False


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
    """Train a new model, if there is anything to train, with checkpoints in `folder` until it is
    done.

    Afterwards it has its best weights on the first rank.
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


def build_model(name: str, config: Any, data: TrainingSet) -> torch.nn.Module:
    """A fresh model, its widths taken from the data, its region statistics from a sample of it.

    Raises:
        UserError: for weights to start from that do not fit.
    """
    space = data.space
    sizes = Sizes(
        data.regions.shape[2], data.caption_embedding.shape[1], len(data.concept_embedding)
    )
    if space is not None:
        words = space.encoder.text_tower.width if config.reads.tokens == "frozen" else 0
        sizes = replace(sizes, words=words, head=space.head().config)
    config_with_sizes = config.with_sizes(sizes)
    try:
        model: Any = MODELS[name][1](config_with_sizes)
    except ValueError as error:  # what a layer refuses, such as a backbone that nobody has
        raise UserError(f"pretrain.{name}: {error}") from None
    sample = data.rows[:: max(1, len(data) // 1000)]
    mask = np.arange(data.regions.shape[1]) < data.count[sample][:, None]
    regions = torch.from_numpy(data.regions[sample].astype(np.float32)[mask])
    model.start(Start(regions, space))
    return model


def make_tune_score(
    params: PretrainParams, folders: Folders, reads: InputSpec, frozen: Callable[[], Encoder]
) -> Score | None:
    """Model -> tune mIoU, or None where the tune split has no truth."""
    tune = tuning.load(folders, side=params.tune_side, reads=reads)
    if tune is None:
        return None
    device, classes = detect(params.device).device, None
    read_templates(params.prompts)  # refuses a set that nobody knows now, not after an epoch

    def score(model: Any) -> float:
        nonlocal classes
        if classes is None or reads.tokens:
            classes = class_vectors(model, None, frozen, tune.names, params.prompts)
        return tune.mean_iou(model, classes, device=device)

    return score


def write_concepts(data: TrainingSet, folder: Path) -> None:
    """concepts.txt: what texts of the recipe name, a line each; classes that are not among them are
    unseen.
    """
    if data.segments is None:
        named = data.texts[data.texts >= 0]
    else:
        phrases = data.segments.phrases
        named = (
            Vocabulary(tuple(data.concepts), find_plurals(data.concepts, phrases))
            .match_captions(phrases)
            .indices
        )
    with atomic_path(folder / CONCEPTS) as part:
        part.write_text("".join(f"{data.concepts[n]}\n" for n in np.unique(named)))


def save_tokenizer(reads: InputSpec, folder: Path) -> None:
    """The tokenizer of a model with a text encoder of its own, where it comes with no package."""
    if reads.tokens and reads.tokens != "frozen" and reads.tokenizer:
        tokenizer_of(reads).save(folder / TOKENIZER)


def copy_encoder(encoder: Path, out: Path) -> None:
    """Copy what a model needs from its encoder's folder, without the alignments with text."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("encoder.json", REDUCTION):
        if (encoder / name).exists():
            shutil.copyfile(encoder / name, out / name)
