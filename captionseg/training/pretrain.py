"""Trains a recipe: loads its data, trains each seed, saves the models and their curves."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from captionseg.encoders.reduction import FILE as REDUCTION
from captionseg.modeling.segmenter import InputSpec
from captionseg.recipes import Recipe
from captionseg.runtime import ranks
from captionseg.runtime.params import HERE, RuntimeParams
from captionseg.storage.reading import read_json
from captionseg.training.curve import Tell
from captionseg.training.fit import check_runtime
from captionseg.training.loader import Folders
from captionseg.training.model_card import write_card
from captionseg.training.params import PretrainParams, model_config, protocol_fields
from captionseg.training.seeds import save_tokenizer, train
from captionseg.typed import replace_fields


def pretrain(
    recipe: Recipe,
    params: PretrainParams,
    folders: Folders,
    *,
    name: str,
    context: dict[str, Any],
    out: Path,
    tell: Tell,
    runtime: RuntimeParams = HERE,
) -> dict[str, float]:
    """Train every seed of a recipe that has not been trained in `out` yet.

    Every rank calls it with the same arguments; only the first writes files and calls `tell`.

    Args:
        recipe: what to train.
        params: section `pretrain`.
        folders: inputs.
        name: name of the recipe.
        context: saved with each model: what is needed to prepare a picture for it.
        out: gets seeds/N/{model.safetensors, config.json, curve.csv, fit.json}. The model of the
            seed with the best tune score is copied to `out` itself, with the encoder's description
            and README.md, so that a predictor needs no other folder. Files depend on the seed
            alone, so speed is not among them.
        tell: called with every loss.
        runtime: section `runtime`; by default seeds are trained one after another.

    Returns:
        loss and tune mIoU as means over seeds; images per second, over all seeds, and seconds, of
        the training in this call. Empty on ranks other than the first.

    Raises:
        UserError: if params, recipe and data do not fit together, or the loss is not finite.
    """
    params = replace_fields(params, recipe.training, f"recipes.{name}.training")
    config = model_config(recipe, params, where=f"recipes.{name}")
    check_runtime(params, runtime)
    context = {**context, **protocol_fields(recipe, where=f"recipes.{name}"), "recipe": name}
    with ranks.join_ranks(runtime, params.device) as here:
        images, seconds = train(
            recipe, config, params, folders, out=out, context=context, tell=tell, runtime=runtime
        )
        if not here.main:
            return {}
        fits = {seed: read_json(out / "seeds" / str(seed) / "fit.json") for seed in params.seeds}
        best = max(fits, key=lambda s: fits[s].get("tune_miou", 0.0))
        copy_best(out, best, config.reads, folders.prepared.encoder)
        write_card(out / "README.md", recipe, params, fits, best=best, context=context)
        return {
            **average(list(fits.values())),
            "images_per_second": images / seconds if seconds else 0.0,
            "seconds": seconds,
        }


def average(measures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the means of measures that have the same names."""
    return {name: float(np.mean([one[name] for one in measures])) for name in measures[0]}


def copy_best(out: Path, seed: int, reads: InputSpec, encoder: Path) -> None:
    """Copy the model of a seed to the top of `out`, with its tokenizer and its encoder if any."""
    for file in ("model.safetensors", "config.json"):
        shutil.copyfile(out / "seeds" / str(seed) / file, out / file)
    save_tokenizer(reads, out)
    if reads.encoder:
        copy_encoder(encoder, out / "encoder")


def copy_encoder(encoder: Path, out: Path) -> None:
    """Copy what a model needs from its encoder's folder, without the alignments with text."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("encoder.json", REDUCTION):
        if (encoder / name).exists():
            shutil.copyfile(encoder / name, out / name)
