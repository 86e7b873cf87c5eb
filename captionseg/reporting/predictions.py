"""All recipes side by side on the same test pictures."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from captionseg.encoders.encoder import Encoder
from captionseg.encoders.text_space import load_encoder
from captionseg.inference.labelling import Labeller
from captionseg.inference.protocols import ScoringOptions
from captionseg.inference.windows import Protocol
from captionseg.reporting.artifacts import Artifacts
from captionseg.reporting.baselines import is_control
from captionseg.reporting.overlay import (
    IGNORED,
    draw_legend,
    draw_overlay,
    draw_sheet,
    fit,
    format_hexes,
    make_palette,
    measure_shares,
    write_picture,
)
from captionseg.reporting.params import ReportParams
from captionseg.reporting.pictures import SHOWN, save
from captionseg.reporting.rendering import View
from captionseg.reporting.scene_choice import choose_scenes

LEGEND_SHARE = 0.01  # share of the picture that a label needs to appear in the legend
SHEET_ROWS = 3  # pictures in overlays.jpg


def compare(
    run: Artifacts,
    best: str | None,
    params: ReportParams,
    protocol: Protocol,
    folder: Path,
    *,
    seed: int,
) -> list[View]:
    """Show the truth and every recipe's labels on some test pictures; nothing without a truth.

    Args:
        run: the artifacts.
        best: the recipe that pictures are chosen by, see `choose_scenes`.
        params: number of pictures, and their split.
        protocol: how they are labelled.
        folder: output folder: scene_N.jpg, scene_N_truth.jpg, scene_N_RECIPE.jpg, and overlays.jpg
            with the first pictures.
        seed: seed for drawing pictures.
    """
    scenes = choose_scenes(run, best, params.split, params.scenes, seed=seed)
    if not scenes or not run.fits:
        return []
    chosen = [scene.uid for scene in scenes]
    decoded, masks = run.images(chosen), run.masks(chosen)
    images = {uid: decoded[uid] for uid in chosen}
    maps = {"truth": masks, **predict_all(run, masks, protocol, params.device)}
    colours = assign_colours(run)
    drawn = {name: draw_all(images, labels, colours) for name, labels in maps.items()}
    views: list[View] = []
    for number, scene in enumerate(scenes, start=1):
        uid, stem = scene.uid, f"scene_{number}"
        views.append(
            {
                **vars(scene),
                **save(images[uid], folder, f"{stem}.jpg"),
                "caption": run.pairs[uid]["caption"],
                "maps": [],
                "others": [],
            }
        )
        for name, labels in maps.items():
            view = {
                "name": name,
                **save(drawn[name][uid], folder, f"{stem}_{name}.jpg"),
                **describe_labels(labels[uid], masks[uid], run.classes.names, colours),
            }
            views[-1]["maps" if name in ("truth", best) else "others"].append(view)
    write_sheet(run, images, maps, drawn, colours, folder / "overlays.jpg")
    return views


def draw_all(
    images: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray], colours: np.ndarray
) -> dict[str, np.ndarray]:
    """Draw the labels [H, W] of each picture on it, no larger than it is shown."""
    return {
        uid: fit(draw_overlay(image, labels[uid], colours), SHOWN) for uid, image in images.items()
    }


def write_sheet(
    run: Artifacts,
    images: Mapping[str, np.ndarray],
    maps: Mapping[str, Mapping[str, np.ndarray]],
    drawn: Mapping[str, Mapping[str, np.ndarray]],
    colours: np.ndarray,
    path: Path,
) -> None:
    """Write the first pictures with the truth and the labels of all recipes but controls.

    Args:
        run: the artifacts.
        images: uid -> picture.
        maps: truth or recipe -> uid -> labels [H, W].
        drawn: truth or recipe -> uid -> labels over the picture, as large as on the page.
        colours: [C, 3].
        path: of the picture.
    """
    shown = ["truth", *(name for name in run.fits if not is_control(run.recipes[name]))]
    rows = []
    for uid in [*images][:SHEET_ROWS]:
        true, names = maps["truth"][uid], run.classes.names
        labelled = (
            show_labels(drawn[name][uid], maps[name][uid], true, names, colours) for name in shown
        )
        rows.append([fit(images[uid], SHOWN), *labelled])
    write_picture(draw_sheet(["picture", *shown], rows), path)


def predict_all(
    run: Artifacts, masks: Mapping[str, np.ndarray], protocol: Protocol, device: str
) -> dict[str, dict[str, np.ndarray]]:
    """Predict recipe -> uid -> labels [H, W] for the pictures of `masks`; see `predict_labels`."""
    frozen = functools.cache(lambda: load_encoder(run.folders.prepared.encoder, device=device))
    return {name: predict_labels(run, name, masks, frozen, protocol, device) for name in run.fits}


def assign_colours(run: Artifacts) -> np.ndarray:
    """Assign colours [C, 3]; the most frequent classes get the most distinct ones."""
    count = Counter(itertools.chain.from_iterable(run.known_classes.values()))
    rank = {
        name: i for i, name in enumerate(sorted(run.classes.names, key=lambda name: -count[name]))
    }
    return make_palette(len(rank))[[rank[name] for name in run.classes.names]]


def predict_labels(
    run: Artifacts,
    name: str,
    masks: Mapping[str, np.ndarray],
    frozen: Callable[[], Encoder],
    protocol: Protocol,
    device: str,
) -> dict[str, np.ndarray]:
    """Predict uid -> labels [H, W] with the recipe's best seed, in the size of the true masks.

    Args:
        run: the artifacts.
        name: name of the recipe.
        masks: uid -> true labels.
        frozen: returns the frozen text encoder.
        protocol: how pictures are labelled.
        device: device of the model.
    """
    labeller = Labeller.load(
        run.folders.models / name,
        ScoringOptions(protocol, device=device),
        names=run.classes.names,
        frozen=frozen,
        regions=False,
    )
    number = {uid: row for row, uid in enumerate(run.rows)}
    inputs = run.folders.prepared.inputs(
        labeller.reads, refine=labeller.refine, masks=labeller.masks
    )
    return {
        uid: labeller.predict(inputs(np.array([number[uid]]), (mask.shape[0], mask.shape[1])))
        for uid, mask in masks.items()
    }


def describe_labels(
    labels: np.ndarray, true: np.ndarray, names: Sequence[str], colours: np.ndarray
) -> View:
    """Describe a label map: its legend, which labels are not in the picture, and pixel accuracy."""
    present, known = set(np.unique(true).tolist()), true != IGNORED
    return {
        "legend": [
            {"text": names[c], "colour": format_hexes(colours[[c]])[0], "right": c in present}
            for c in list_largest(labels, len(names))
        ],
        "accuracy": 100.0 * float((labels == true)[known].mean()) if known.any() else 0.0,
    }


def list_largest(labels: np.ndarray, count: int) -> list[int]:
    """Return the labels of a legend, largest first."""
    share = measure_shares(labels, count)
    return [int(c) for c in np.argsort(-share, kind="stable") if share[c] >= LEGEND_SHARE]


def show_labels(
    picture: np.ndarray,
    labels: np.ndarray,
    true: np.ndarray,
    names: Sequence[str],
    colours: np.ndarray,
) -> np.ndarray:
    """Add the legend of its labels below a picture; labels that it does not show are struck
    through.
    """
    order = list_largest(labels, len(names))
    struck = [not bool((true == c).any()) for c in order]
    return np.concatenate(
        [
            picture,
            draw_legend([names[c] for c in order], colours[order], picture.shape[1], struck=struck),
        ]
    )
