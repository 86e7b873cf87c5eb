"""One recipe: load, train each seed, save the models and their curves."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from captionseg.encoders import TextSpace
from captionseg.encoders.reduction import FILE as REDUCTION
from captionseg.modeling import MODELS, saved
from captionseg.records import UserError
from captionseg.runtime import detect
from captionseg.storage import write_json
from captionseg.text.prompts import TEMPLATES, class_embeddings
from captionseg.training import PretrainParams, Recipe, loader, tuning
from captionseg.training.curve import Curve, Tell
from captionseg.training.fit import Fitted, Score, fit
from captionseg.training.loader import TrainingSet


@dataclass(frozen=True)
class Folders:
    """Where the stages left what a recipe reads."""

    index: Path
    regions: Path
    supervision: Path
    truth: Path
    encoder: Path


def pretrain(recipe: Recipe, params: PretrainParams, folders: Folders, *, name: str, context: dict[str, Any],
             out: Path, tell: Tell) -> dict[str, float]:
    """Train every seed of a recipe that has not been trained in `out` yet.

    Args:
        recipe: what to train.
        params: how.
        folders: inputs.
        name: of the recipe.
        context: saved with each model: what it takes to prepare a picture for it.
        out: seeds/N/{model.safetensors, config.json, curve.csv, fit.json}; the seed that is best on tune again at its
            top, with the encoder's description and README.md, so that the folder is all that a predictor needs. The
            same bytes for the same seed: how long it took is only returned.
        tell: is told every loss.

    Returns:
        loss and tune mIoU as means over seeds; images per second and seconds over the seeds that were trained now.
    """
    masking = getattr(model_config(recipe, params), "masking", None)
    data = loader.load(folders.index, folders.regions, folders.supervision, curation=recipe.curation,
                       archive=recipe.archive, masking=masking,
                       encode=TextSpace.load(folders.encoder).encode if masking else None)
    score = tune_score(params, folders)
    fits, speeds = {}, []
    for seed in params.seeds:
        folder = out / "seeds" / str(seed)
        if not (folder / "fit.json").exists():
            fitted, model = one_seed(recipe, params, data, seed=seed, score=score, folder=folder, tell=tell)
            saved.save(folder, recipe.model, model, {**context, "recipe": name, "seed": seed})
            speeds.append((fitted.images_per_second, fitted.seconds))
            scores = {"loss": fitted.loss, "tune_miou": fitted.tune_miou}
            write_json({k: v for k, v in scores.items() if v == v}, folder / "fit.json")
        fits[seed] = json.loads((folder / "fit.json").read_text())
    best = max(fits, key=lambda s: fits[s].get("tune_miou", 0.0))
    for file in ("model.safetensors", "config.json"):
        shutil.copyfile(out / "seeds" / str(best) / file, out / file)
    copy_encoder(folders.encoder, out / "encoder")
    write_card(out / "README.md", name, recipe, params, fits, best)
    means = {key: float(np.mean([f[key] for f in fits.values()])) for key in next(iter(fits.values()))}
    speed, seconds = zip(*speeds, strict=True) if speeds else ((0.0,), (0.0,))
    return {**means, "images_per_second": float(np.mean(speed)), "seconds": float(sum(seconds))}


def one_seed(recipe: Recipe, params: PretrainParams, data: TrainingSet, *, seed: int, score: Score | None,
             folder: Path, tell: Tell) -> tuple[Fitted, torch.nn.Module]:
    """Train one model of a recipe; its checkpoints lie in `folder` until it is done."""
    torch.manual_seed(seed)
    model = build_model(recipe, params, data)
    curve = Curve(folder / "curve.csv", seed, tell)
    fitted = fit(model, data, params, seed=seed, score=score, curve=curve, work=folder / "checkpoints")
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    model.load_state_dict(fitted.state)
    return fitted, model


def build_model(recipe: Recipe, params: PretrainParams, data: TrainingSet) -> torch.nn.Module:
    """A fresh model of a recipe, its widths taken from the data, its region statistics from a sample of it.

    Raises:
        UserError: if the recipe sets a field that the model does not have, or what it sets does not fit together.
    """
    config = model_config(recipe, params)
    widths = {"region_width": data.regions.shape[2], "text_width": data.caption_embedding.shape[1]}
    config = dataclasses.replace(config, **{k: v for k, v in widths.items() if not getattr(config, k)})
    model = MODELS[recipe.model][1](config)
    sample = data.rows[:: max(1, len(data) // 1000)]
    mask = np.arange(data.regions.shape[1]) < data.count[sample][:, None]
    model.standardise(torch.from_numpy(data.regions[sample].astype(np.float32)[mask]))
    return model


def model_config(recipe: Recipe, params: PretrainParams) -> Any:
    """The config of a recipe's model: the model's section of the params with the recipe's settings. Raises as above."""
    base = getattr(params, recipe.model)
    valid = [f.name for f in dataclasses.fields(base)]
    for key in recipe.settings:
        if key not in valid:
            raise UserError(f"recipes: {recipe.model} has no setting {key!r} (valid: {', '.join(valid)})")
    try:
        config = dataclasses.replace(base, **recipe.settings)
    except (TypeError, ValueError) as error:
        raise UserError(f"recipes: settings of {recipe.model}: {error}") from None
    if getattr(config, "tokens", "regions") == "pixels":
        raise UserError("recipes: groupvit with tokens: pixels is not trained here yet: batches hold frozen features; "
                        "use tokens: regions, or `captionseg convert` for a trained model")
    return config


def tune_score(params: PretrainParams, folders: Folders) -> Score | None:
    """Model -> tune mIoU, or None where the tune split has no truth."""
    tune = tuning.load(folders.index, folders.regions, folders.truth, side=params.tune_side)
    if tune is None:
        return None
    space = TextSpace.load(folders.encoder)
    classes = torch.from_numpy(class_embeddings(tune.names, space.encode, TEMPLATES[params.prompts]))
    device = detect(params.device).device
    return lambda model: tune.mean_iou(model, classes, device=device)  # type: ignore[arg-type]


def write_card(path: Path, name: str, recipe: Recipe, params: PretrainParams, fits: dict[int, dict], best: int) -> None:
    """The model card."""
    rows = "".join(f"| {seed} | {f.get('tune_miou', float('nan')):.1f} | {f['loss']:.3f} |\n"
                   for seed, f in fits.items())
    path.write_text(
        f"# {name}\n\n{recipe.about}\n\n"
        f"Model `{recipe.model}`, texts drawn from the concepts of rule `{recipe.curation}`, negatives masked by the "
        f"archive of `{recipe.archive}`. {params.epochs} epochs, batch {params.batch}, "
        f"L = {params.texts}.\n\n| seed | tune mIoU (coarse grid) | last loss |\n|---|---|---|\n{rows}\n"
        f"`model.safetensors` is seed {best}, the best on the tune split. Scores on the test split are in "
        "`reports/metrics.json`. Use it:\n\n"
        f"```\ncaptionseg segment picture.jpg --labels \"zebra, grass\" --model models/{name}\n```\n"
    )


def copy_encoder(encoder: Path, out: Path) -> None:
    """What a model needs of its encoder's folder; its alignments with text stay behind."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("encoder.json", REDUCTION):
        if (encoder / name).exists():
            shutil.copyfile(encoder / name, out / name)
