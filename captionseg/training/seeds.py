"""Trains the seeds of a recipe, and saves each model."""

from __future__ import annotations

import functools
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from captionseg.encoders.encoder import Encoder
from captionseg.encoders.text_space import load_encoder
from captionseg.inference.class_embeddings import TOKENIZER, build_tokenizer, embed_class_names
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
from captionseg.storage.folders import ROWS
from captionseg.storage.writing import atomic_path, write_json
from captionseg.text.prompts import read_templates
from captionseg.text.vocabulary import Vocabulary, find_plurals
from captionseg.training import loader, tuning
from captionseg.training.checkpoint import Score
from captionseg.training.curve import Tell
from captionseg.training.fit import FitResult
from captionseg.training.loader import Folders
from captionseg.training.params import PretrainParams
from captionseg.training.side_by_side import count_at_once, train_side_by_side
from captionseg.training.soup import train_seed
from captionseg.training.training_set import TrainingSet

log = logging.getLogger(__name__)


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
) -> tuple[float, float]:
    """Train the seeds that are not finished on the first rank; arguments as in `pretrain`.

    Returns:
        the number of images that were trained on, over all seeds and epochs, and the seconds that
        it took; zeros if there was nothing to do.
    """
    reads, place = config.reads, read_place(runtime)
    frozen = functools.cache(lambda: load_encoder(folders.prepared.encoder))
    data = loader.load(
        folders,
        curation=recipe.curation,
        archive=recipe.archive,
        alike=params.alike,
        reads=reads,
        encode=frozen().text if reads.masking and not reads.tokens else None,
        device=params.device,
        place=place,
    )
    score = None
    if place.main:
        score = make_tune_score(
            params, folders, data, lambda: data.space.encoder if data.space else frozen()
        )
        write_concepts(data, out)
    trainer = SeedTrainer(recipe.model, config, data, score, params, runtime, out, context)
    todo = ranks.share([s for s in params.seeds if not (place.main and trainer.has(s))])
    start, steps = time.perf_counter(), max(1, len(data) // params.batch)
    count = count_at_once(params, runtime, reads, len(todo))
    images = train_side_by_side(trainer, todo, count, params, steps=steps, tell=tell)
    return (sum(images), time.perf_counter() - start) if todo else (0.0, 0.0)


@dataclass(frozen=True)
class SeedTrainer:
    """Trains and saves a seed of a recipe; fields as in `train` and `build_model`."""

    name: str
    config: Any
    data: TrainingSet
    score: Score | None
    params: PretrainParams
    runtime: RuntimeParams
    out: Path
    context: dict[str, Any]

    def folder(self, seed: int) -> Path:
        """Return the folder of a seed."""
        return self.out / "seeds" / str(seed)

    def has(self, seed: int) -> bool:
        """Return whether a seed was trained before."""
        return is_finished(self.folder(seed))

    def __call__(self, seed: int, tell: Tell) -> float:
        """Train a seed, and save it on the first rank; return the number of images of all steps."""
        torch.manual_seed(seed)
        model, folder = build_model(self.name, self.config, self.data), self.folder(seed)
        result = train_seed(
            model,
            self.data,
            self.params,
            seed=seed,
            score=self.score,
            folder=folder,
            tell=tell,
            runtime=self.runtime,
        )
        if read_place(self.runtime).main:
            save_seed(folder, self.name, model, {**self.context, "seed": seed}, result)
        return result.images_per_second * result.seconds


def save_seed(
    folder: Path, name: str, model: Any, context: dict[str, Any], result: FitResult
) -> None:
    """Save a trained model with its tokenizer, its loss and its tune mIoU.

    The scores, fit.json without those that are NaN, are written last: a seed with them is finished.

    Args:
        folder: folder of the seed.
        name: key of MODELS.
        model: the model.
        context: saved with the model.
        result: result of its fit.
    """
    saved.save(folder, name, model, context)
    save_tokenizer(model.config.reads, folder)
    scores = {"loss": result.loss, "tune_miou": result.tune_miou}
    write_json({key: value for key, value in scores.items() if value == value}, folder / "fit.json")


def is_finished(folder: Path) -> bool:
    """Return whether a seed was trained before and its files are readable."""
    if not (folder / "fit.json").exists():
        return False
    try:
        for name in ("fit.json", "config.json"):
            json.loads((folder / name).read_text(encoding="utf-8"))
        with safe_open(folder / "model.safetensors", framework="numpy"):
            return True  # also of a model without weights
    except (FileNotFoundError, ValueError, SafetensorError) as error:
        log.warning(
            "%s: cannot be read (%s), so this seed is trained again", folder, one_line(error)
        )
        return False


def build_model(name: str, config: Any, data: TrainingSet) -> torch.nn.Module:
    """Build a new model, with widths and statistics of region features from the data.

    Args:
        name: key of MODELS.
        config: config of the model; widths that are 0 are taken from the data.
        data: the training set.

    Raises:
        UserError: for an invalid config, or initial weights that do not fit.
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
    except ValueError as error:  # of a layer, such as an unknown backbone
        raise UserError(f"pretrain.{name}: {error}") from None
    sample = data.rows[:: max(1, len(data) // 1000)]
    mask = np.arange(data.regions.shape[1]) < data.count[sample][:, None]
    regions = torch.from_numpy(data.regions[sample].astype(np.float32)[mask])
    concepts = torch.from_numpy(data.concept_embedding.astype(np.float32))
    model.start(Start(regions, space, concepts))
    return model


def make_tune_score(
    params: PretrainParams, folders: Folders, data: TrainingSet, frozen: Callable[[], Encoder]
) -> Score | None:
    """Return the function from a model to its tune mIoU; None if the tune split has no truth."""
    reads = data.reads
    tune = tuning.load(folders, side=params.tune_side, reads=reads, pictures=data.pictures)
    if tune is None:
        return None
    device, classes = detect(params.device).device, None
    read_templates(params.prompts)  # so that an unknown set is an error now, not after an epoch

    def score(model: Any) -> float:
        nonlocal classes
        if classes is None or reads.tokens:
            classes = embed_class_names(model, None, frozen, tune.names, params.prompts)
        return tune.mean_iou(model, classes, device=device)

    return score


def write_concepts(data: TrainingSet, folder: Path) -> None:
    """Write concepts.txt: the concepts that texts of the recipe name, one per line.

    Classes of a benchmark that are not among them count as unseen.
    """
    if data.segments is None:
        named = find_drawn(data)
    else:
        phrases = data.segments.phrases
        named = (
            Vocabulary(tuple(data.concepts), find_plurals(data.concepts, phrases))
            .match_captions(phrases)
            .indices
        )
    with atomic_path(folder / CONCEPTS) as part:
        words = "".join(f"{data.concepts[n]}\n" for n in np.unique(named))
        part.write_text(words, encoding="utf-8")


def find_drawn(data: TrainingSet) -> np.ndarray:
    """Numbers of the concepts that may be drawn for some pair, in ascending order."""
    found = np.zeros(len(data.concepts), bool)
    for start in range(0, len(data), ROWS):
        texts = data.texts[start : start + ROWS]
        found[texts[texts >= 0]] = True
    return np.flatnonzero(found)


def save_tokenizer(reads: InputSpec, folder: Path) -> None:
    """Save the tokenizer of a model with its own text encoder, unless it is the packaged one."""
    if reads.tokens and reads.tokens != "frozen" and reads.tokenizer:
        build_tokenizer(reads).save(folder / TOKENIZER)
