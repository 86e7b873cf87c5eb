"""Heat maps of concepts that a caption leaves out, for two models (CoCu, Figs. 3b and 4)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw

from captionseg.encoders.encoder import Encoder
from captionseg.encoders.text_space import load_encoder
from captionseg.inference.labelling import Labeller
from captionseg.inference.protocols import ScoringOptions
from captionseg.inference.windows import Protocol
from captionseg.reporting.artifacts import Artifacts
from captionseg.reporting.overlay import (
    IGNORED,
    INK,
    PAPER,
    draw_sheet,
    find_boundaries,
    fit,
    format_hexes,
    load_font,
    write_picture,
)
from captionseg.reporting.params import ReportParams
from captionseg.reporting.pictures import HEAT, SHOWN, draw, find_names, save
from captionseg.reporting.rendering import View

COLOURS = "viridis"  # perceptually uniform and readable for colour-blind people
TOP = 5.0
"""End of the colour scale in standard deviations; a class among a hundred can exceed it."""


def compare(
    run: Artifacts,
    pair: tuple[str, str] | None,
    params: ReportParams,
    protocol: Protocol,
    folder: Path,
    *,
    seed: int,
) -> View:
    """Draw heat maps of the largest concept that the caption does not name, for two recipes.

    Args:
        run: the artifacts.
        pair: a curated recipe and its baseline; None draws nothing.
        params: number of pictures, and their split. Pictures and concepts are chosen without
            looking at scores.
        protocol: how pictures are labelled and refined.
        folder: output folder: heat_N.jpg (the picture), heat_N_RECIPE.jpg, and heat.jpg with all.
        seed: seed for drawing pictures.

    Returns:
        rows, stops (colours of the scale, low to high) and top (end of the scale); empty if there
        is nothing to show, for example without a truth.
    """
    shown = choose_concepts(run, params, seed=seed) if pair else {}
    if pair is None or not shown:
        return {}
    recipes, images = (pair[1], pair[0]), run.images(shown)
    frozen = functools.cache(
        lambda: load_encoder(run.folders.prepared.encoder, device=params.device)
    )
    activations = {
        name: compute_activations(run, name, shown, frozen, protocol, params.device)
        for name in recipes
    }
    top, views, rows = find_scale_end(len(run.classes.names)), [], []
    for number, (uid, (concept, true)) in enumerate(shown.items(), start=1):
        text, values = run.classes.names[concept], {n: activations[n][uid] for n in recipes}
        view, row = draw_row(folder, f"heat_{number}", images[uid], text, true, values, top=top)
        views.append({**view, "caption": run.pairs[uid]["caption"]})
        rows.append(row)
    bar = [draw_scale_bar(rows[0][1].shape[1], top) for _ in recipes]
    sheet = [*rows, [np.full_like(bar[0], 255), *bar]]
    write_picture(draw_sheet(["unnamed concept", *recipes], sheet), folder / "heat.jpg")
    return {"rows": views, "stops": format_hexes(map_colours(np.linspace(0.0, 1.0, 9))), "top": top}


def draw_row(
    folder: Path,
    title: str,
    image: np.ndarray,
    text: str,
    true: np.ndarray,
    values: Mapping[str, np.ndarray],
    *,
    top: float,
) -> tuple[View, list[np.ndarray]]:
    """Write one picture and its heat maps.

    Args:
        folder: output folder.
        title: start of the names of files.
        image: the picture.
        text: the concept.
        true: its mask [H, W].
        values: recipe -> standardised scores [H, W].
        top: end of the colour scale.

    Returns:
        the view, and the pictures with captions for the sheet.
    """
    pictures = {"": draw_outline(image, true)}
    pictures |= {name: tint(image, scores / top, true) for name, scores in values.items()}
    files = {name: f"{title}_{name}.jpg" if name else f"{title}.jpg" for name in pictures}
    small = {name: fit(picture, SHOWN) for name, picture in pictures.items()}
    saved = {name: save(picture, folder, files[name]) for name, picture in small.items()}
    maps = [
        {"name": name, **saved[name], **compute_means(scores, true)}
        for name, scores in values.items()
    ]
    says = [text, *(f"inside {m['inside']:.1f}, outside {m['outside']:.1f}" for m in maps)]
    row = [add_caption(picture, says[i]) for i, picture in enumerate(small.values())]
    return {**saved[""], "concept": text, "maps": maps}, row


# ------------------------------------------------------------------------------------------------
# concepts and their scores


def choose_concepts(
    run: Artifacts, params: ReportParams, *, seed: int
) -> dict[str, tuple[int, np.ndarray]]:
    """Return some pictures at random, each with a concept that its caption leaves out: uid -> its
    number and mask.
    """
    left_out = {
        uid: names for uid, names in find_unnamed_concepts(run, params.split).items() if names
    }
    chosen = draw(left_out, params.heat, seed=seed, stream=HEAT)
    return select_concepts(
        run.masks(chosen), {uid: left_out[uid] for uid in chosen}, run.classes.names
    )


def find_unnamed_concepts(run: Artifacts, split: str) -> dict[str, set[str]]:
    """Return uid -> known concepts that the caption does not name, for the pictures of a split."""
    uids = [
        uid for uid, row in run.pairs.items() if row["split"] == split and uid in run.known_classes
    ]
    named = find_names([run.pairs[uid]["caption"] for uid in uids], run.classes.names)
    return {
        uid: set(run.known_classes[uid]) - names for uid, names in zip(uids, named, strict=True)
    }


def select_concepts(
    masks: Mapping[str, np.ndarray], left_out: Mapping[str, set[str]], names: Sequence[str]
) -> dict[str, tuple[int, np.ndarray]]:
    """Return uid -> the left-out concept with the largest area, and its mask.

    A concept of an earlier picture is used only if there is no other. Pictures without a pixel of a
    left-out concept are skipped.
    """
    shown: dict[str, tuple[int, np.ndarray]] = {}
    for uid, mask in masks.items():
        area = np.bincount(mask[mask != IGNORED].ravel(), minlength=len(names))
        candidates = [c for c, name in enumerate(names) if name in left_out[uid] and area[c]]
        before = {concept for concept, _ in shown.values()}
        if candidates:
            best = max(candidates, key=lambda c: (c not in before, area[c], -c))
            shown[uid] = (best, mask == best)
    return shown


def compute_activations(
    run: Artifacts,
    name: str,
    shown: Mapping[str, tuple[int, np.ndarray]],
    frozen: Callable[[], Encoder],
    protocol: Protocol,
    device: str,
) -> dict[str, np.ndarray]:
    """Return uid -> standardised scores [H, W] of its concept by the recipe's best seed."""
    names = run.classes.names
    labeller = Labeller.load(
        run.folders.models / name,
        ScoringOptions(protocol, device=device),
        names=names,
        frozen=frozen,
        regions=False,
    )
    inputs = run.folders.prepared.inputs(
        labeller.reads, refine=labeller.refine, masks=labeller.masks
    )
    number, out = {uid: row for row, uid in enumerate(run.rows)}, {}
    for uid, (concept, true) in shown.items():
        logits = labeller.logits(inputs(np.array([number[uid]]), (true.shape[0], true.shape[1])))
        # a background comes before the classes
        out[uid] = standardise(logits[-len(names) :], concept)
    return out


def standardise(logits: np.ndarray, concept: int) -> np.ndarray:
    """Standardise a class's score at each pixel: (score - mean over classes) / standard deviation.

    Different models score on different scales; standardised scores are comparable.

    Args:
        logits: [C, H, W] scores of all classes.
        concept: the class.

    Returns:
        [H, W], between -sqrt(C - 1) and sqrt(C - 1); 0 where all classes have the same score.
    """
    spread = logits.std(0)
    return np.where(
        spread > 0, (logits[concept] - logits.mean(0)) / np.where(spread > 0, spread, 1.0), 0.0
    )


def compute_means(values: np.ndarray, true: np.ndarray) -> View:
    """Return the mean value inside and outside of the concept's true mask."""
    outside = float(values[~true].mean()) if not true.all() else 0.0
    return {"inside": float(values[true].mean()), "outside": outside}


def find_scale_end(classes: int) -> float:
    """Return the end of the colour scale: TOP, or the largest possible value for few classes."""
    return min(TOP, math.sqrt(max(1, classes - 1)))


# ------------------------------------------------------------------------------------------------
# drawing


def map_colours(values: np.ndarray) -> np.ndarray:
    """Map values in 0..1 to colours [..., 3] uint8; values outside are clipped."""
    colours = mpl.colormaps[COLOURS](np.clip(values, 0.0, 1.0))[..., :3]
    return np.round(255 * colours).astype(np.uint8)


def tint(
    image: np.ndarray, values: np.ndarray, true: np.ndarray, *, opacity: float = 0.72
) -> np.ndarray:
    """Draw values [H, W] as colours over a grey picture, with the outline of a mask."""
    grey = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    mixed = opacity * map_colours(values) + (1 - opacity) * grey[..., None]
    return draw_outline(np.round(mixed).astype(np.uint8), true)


def draw_outline(picture: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Draw the outline of a mask: white with a dark edge, so that it is visible on any ground."""
    width, out = max(1, round(min(true.shape) / 220)), picture.copy()
    out[find_boundaries(true, width=3 * width)] = (20, 20, 20)
    out[find_boundaries(true, width=width)] = (255, 255, 255)
    return out


def add_caption(picture: np.ndarray, text: str, *, size: int = 13) -> np.ndarray:
    """Add a line of text below a picture."""
    strip = Image.new("RGB", (picture.shape[1], 2 * size), PAPER)
    ImageDraw.Draw(strip).text((0, size), text, fill=INK, font=load_font(size), anchor="lm")
    return np.concatenate([picture, np.asarray(strip)])


def draw_scale_bar(width: int, top: float) -> np.ndarray:
    """Draw the colour scale as a strip, with its range below."""
    strip = np.broadcast_to(map_colours(np.linspace(0.0, 1.0, width)), (12, width, 3))
    return add_caption(strip, f"0 to {top:.1f}")
