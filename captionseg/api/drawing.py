"""Pictures of results: overlays with legends that can be read at any size, and heat maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from captionseg.api.segmentation import Segmentation, cut_label
from captionseg.images import shrink_size
from captionseg.reporting.overlay import (
    FAINT,
    INK,
    PAPER,
    draw_legend,
    draw_overlay,
    load_font,
    make_palette,
    place_labels,
    shorten,
)

SMALLEST = 13  # font size, in pixels
NARROW = 320  # pixels: a legend of several labels is at least so wide
FEW = 12  # labels that are all in the legend, whether they cover anything or not
PANEL, GAP, LINE = 320, 8, 22  # long side of a heat map, gap and line of text, in pixels

HEAT = np.array(
    [
        [68, 1, 84],
        [71, 44, 122],
        [59, 81, 139],
        [44, 113, 142],
        [33, 144, 141],
        [39, 173, 129],
        [92, 200, 99],
        [170, 220, 50],
        [253, 231, 37],
    ]
)
"""Stops of viridis, which is perceptually uniform and readable for colour-blind people."""


def draw_segmentation(result: Segmentation, *, opacity: float, legend: bool) -> Image.Image:
    """Draw a picture in its labels' colours; arguments as of `Segmentation.overlay`."""
    colours = make_palette(len(result.labels))
    mask = result.mask.astype(np.uint8)  # -1 becomes 255, which is not tinted
    drawn = draw_overlay(result.image, mask, colours, opacity=opacity)
    if legend:
        names, shown = list_legend(result)
        tints = np.concatenate([colours, [PAPER]]).astype(np.uint8)[shown]
        drawn = add_readable_legend(drawn, names, tints)
    return Image.fromarray(drawn)


def list_legend(result: Segmentation) -> tuple[list[str], list[int]]:
    """List the entries of a legend: texts, and the numbers of their labels.

    Of many labels the largest come first, and those without a pixel are only counted, by an entry
    of number C.
    """
    shares = result.shares
    shown = [c for c in range(len(shares)) if shares[c] > 0 or len(shares) <= FEW]
    if len(shares) > FEW:
        shown.sort(key=lambda c: -shares[c])
    texts = [f"{cut_label(result.labels[c])}  {100 * shares[c]:.0f} %" for c in shown]
    if left := len(shares) - len(shown):
        texts.append(f"{left} more nowhere")
        shown.append(len(shares))
    return texts, shown


def add_readable_legend(
    picture: np.ndarray, names: Sequence[str], colours: np.ndarray
) -> np.ndarray:
    """Add a legend below a picture, on white beside it if the picture is too narrow.

    The letters grow with the picture, so that they can be read when all of it is on a screen, and
    shrink again if the legend would be taller than half of it.
    """
    height, width = picture.shape[:2]
    size = max(SMALLEST, round((height * width) ** 0.5 / 36))
    while True:
        lengths = [round(load_font(size).getlength(name)) for name in names]
        needed = fit_width(lengths, size)
        if size == SMALLEST:
            break
        if max(width, needed) <= 1.5 * width:
            _, tall = place_labels(lengths, max(width, needed), size)
            if tall <= height / 2:
                break
        size = max(SMALLEST, round(0.85 * size))
    whole = max(width, needed)
    legend = draw_legend(names, colours, whole, size=size)
    page = np.empty((height + len(legend), whole, 3), np.uint8)
    page[:height, :width], page[:height, width:], page[height:] = picture, PAPER, legend
    return page


def fit_width(lengths: Sequence[int], size: int) -> int:
    """Return the least width of a legend: of its longest entry, and of a few side by side.

    Args:
        lengths: of the texts, in pixels.
        size: font size, in pixels.
    """
    gap = size // 2
    entries = [size + 3 * gap + length for length in lengths]
    return max(max(entries), min(sum(entries) + gap, NARROW))


def draw_heat(image: np.ndarray, labels: Sequence[str], maps: np.ndarray) -> Image.Image:
    """Draw the scores of labels as a sheet of heat maps on one scale, the picture first.

    Args:
        image: uint8 [H, W, 3].
        labels: [C] names.
        maps: float32 [C, h, w] scores.
    """
    height, width = shrink_size(image.shape[:2], PANEL)
    size = (max(width, 120), height)  # of a panel, with room for its text
    low, high = (float(np.quantile(maps, share)) for share in (0.01, 0.99))
    columns = max(1, round((1.5 * (len(labels) + 1) * (height + LINE) / size[0]) ** 0.5))
    columns = min(columns, len(labels) + 1)
    rows = -(-(len(labels) + 1) // columns)
    page = Image.new(
        "RGB",
        (columns * (size[0] + GAP) + GAP, rows * (height + LINE + GAP) + GAP + 2 * LINE),
        PAPER,
    )
    small = Image.fromarray(image).resize((width, height), Image.Resampling.BOX)
    grey = np.asarray(small.convert("L"), np.float32)[..., None]
    draw, face = ImageDraw.Draw(page), load_font(14)
    for number, text in enumerate(["the picture", *labels]):
        x = GAP + number % columns * (size[0] + GAP)
        y = GAP + number // columns * (height + LINE + GAP)
        if number:
            one = Image.fromarray(maps[number - 1]).resize((width, height))
            values = (np.asarray(one) - low) / max(high - low, 1e-9)
            tinted = 0.72 * map_colours(values) + 0.28 * grey
            page.paste(Image.fromarray(np.round(tinted).astype(np.uint8)), (x, y))
        else:
            page.paste(small, (x, y))
        draw.text((x, y + height + LINE / 2), shorten(text, face, size[0]), INK, face, anchor="lm")
    draw_scale(page, low, high)
    return page


def draw_scale(page: Image.Image, low: float, high: float) -> None:
    """Draw the colours of scores from `low` to `high` at the bottom of a page."""
    wide, top = min(200, page.width - 2 * GAP), page.height - 2 * LINE
    strip = np.broadcast_to(map_colours(np.linspace(0, 1, wide)), (10, wide, 3))
    page.paste(Image.fromarray(strip.astype(np.uint8)), (GAP, top))
    text, face = f"scores {low:.2f} to {high:.2f}", load_font(12)
    ImageDraw.Draw(page).text((GAP, top + 20), text, FAINT, face, anchor="lm")


def map_colours(values: np.ndarray) -> np.ndarray:
    """Map values in 0..1 to colours [..., 3] of 0 to 255; values outside are clipped."""
    at = np.clip(values, 0, 1) * (len(HEAT) - 1)
    return np.stack([np.interp(at, np.arange(len(HEAT)), HEAT[:, c]) for c in range(3)], -1)
