"""Draws which group took which part of a picture: a panel for each stage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from captionseg.api.drawing import add_readable_legend
from captionseg.reporting.overlay import INK, PAPER, draw_overlay, fit, load_font, make_palette

SIDE, GAP, LINE = 640, 10, 28  # long side of a panel, gap and line of text, in pixels
LEAST = 0.002  # of a picture: groups that cover less have no entry in the legend
DIGITS = 40  # pixels: of a group that has its number written on it, the least width


def draw_groups(
    image: np.ndarray, stages: Sequence[np.ndarray], counts: Sequence[int], names: Sequence[str]
) -> Image.Image:
    """Draw the picture and the groups of each stage, the last with its numbers and a legend.

    Args:
        image: uint8 [H, W, 3].
        stages: int64 [H, W] each, the group of each pixel.
        counts: number of groups of each stage.
        names: a text for each group of the last stage; empty for none.
    """
    small = fit(image, SIDE)
    panels, titles = [small], ["the picture"]
    for number, (stage, count) in enumerate(zip(stages, counts, strict=True), 1):
        group = shrink(stage, small.shape[:2])
        used = len(np.unique(stage))
        titles.append(f"stage {number}: {used} of {count} groups")
        panels.append(draw_stage(small, group, count, numbered=number == len(stages)))
    width = max(max(panel.shape[1] for panel in panels), 240)
    page = Image.new("RGB", (len(panels) * (width + GAP) - GAP, LINE + len(small)), PAPER)
    draw, face = ImageDraw.Draw(page), load_font(16)
    for number, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        x = number * (width + GAP)
        draw.text((x, LINE / 2), title, INK, face, anchor="lm")
        page.paste(Image.fromarray(panel), (x, LINE))
    shares = np.bincount(stages[-1].ravel(), minlength=counts[-1]) / stages[-1].size
    shown = [g for g in np.argsort(-shares, kind="stable").tolist() if shares[g] >= LEAST]
    texts = [
        f"{g}  {names[g]}  {100 * shares[g]:.0f} %" if names else f"{g}  {100 * shares[g]:.0f} %"
        for g in shown
    ]
    legend = add_readable_legend(np.asarray(page), texts, make_palette(counts[-1])[shown])
    return Image.fromarray(legend)


def draw_stage(image: np.ndarray, group: np.ndarray, count: int, *, numbered: bool) -> np.ndarray:
    """Draw groups in their colours over a picture, if `numbered` with their numbers.

    Args:
        image: uint8 [h, w, 3].
        group: int [h, w].
        count: number of groups, 255 at most.
        numbered: whether large groups have their numbers in their middle.
    """
    page = Image.fromarray(draw_overlay(image, group.astype(np.uint8), make_palette(count)))
    if not numbered:
        return np.asarray(page)
    draw, face = ImageDraw.Draw(page), load_font(18)
    for number in np.unique(group).tolist():
        rows, columns = np.nonzero(group == number)
        if len(rows) < DIGITS**2:
            continue
        # the pixel of the group nearest to its centre, which may lie outside of it
        near = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
        at = (int(columns[near]), int(rows[near]))
        draw.text(at, str(number), PAPER, face, anchor="mm", stroke_width=3, stroke_fill=INK)
    return np.asarray(page)


def shrink(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize labels by nearest neighbours."""
    image = Image.fromarray(labels.astype(np.uint8))
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.NEAREST))
