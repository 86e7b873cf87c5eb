"""Label maps drawn over pictures, with colours and legends. Uses only numpy and Pillow, because the
command line imports it too.
"""

from __future__ import annotations

import functools
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from captionseg.records import UserError
from captionseg.storage.writing import atomic_path

IGNORED = 255
ROWS = 64  # of a picture that are tinted at once, so that they stay in the processor's cache
INK, FAINT, WRONG, PAPER = (38, 38, 36), (125, 125, 120), (173, 52, 38), (255, 255, 255)

_TO_LMS = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def make_palette(count: int) -> np.ndarray:
    """Return `count` colours, uint8 [count, 3]; colour i does not depend on the count.

    Each colour is the farthest from all before it in OKLab (Ottosson 2020), where distance is
    perceived difference, among colours that are neither dark, pale nor grey.
    """
    lab, rgb = _candidates()
    chosen, distance = [0], np.full(len(lab), np.inf)
    while len(chosen) < count:
        distance = np.minimum(distance, np.linalg.norm(lab - lab[chosen[-1]], axis=1))
        chosen.append(int(np.round(distance, 9).argmax()))
    return rgb[chosen[:count]]


@functools.cache
def _candidates() -> tuple[np.ndarray, np.ndarray]:
    """Return OKLab [n, 3] and sRGB uint8 [n, 3] of the candidate colours inside sRGB; the palette
    starts with the first.
    """
    grid = np.meshgrid(
        np.deg2rad(28 + np.arange(0, 360, 5)),
        np.linspace(0.20, 0.07, 8),
        np.linspace(0.68, 0.52, 5),
        indexing="ij",
    )
    hue, chroma, light = (axis.ravel() for axis in grid)
    hue, chroma = np.tile(hue, 2), np.tile(chroma, 2)
    light = np.concatenate([light, light + 0.16])
    lab = np.stack([light, chroma * np.cos(hue), chroma * np.sin(hue)], 1)
    linear = (lab @ _TO_LMS.T) ** 3 @ _TO_RGB.T
    shown = ((linear >= 0) & (linear <= 1)).all(1)
    lab, linear = lab[shown], linear[shown]
    srgb = np.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 0) ** (1 / 2.4) - 0.055
    )
    return lab, np.round(255 * srgb).astype(np.uint8)


def format_hexes(colours: np.ndarray) -> list[str]:
    """Format colours uint8 [n, 3] as #rrggbb."""
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in colours.tolist()]


def draw_overlay(
    image: np.ndarray, labels: np.ndarray, colours: np.ndarray, *, opacity: float = 0.55
) -> np.ndarray:
    """Tint a picture by its labels, with a thin light line between them.

    Args:
        image: uint8 [H, W, 3].
        labels: integer [H, W], rows of `colours`; IGNORED pixels are not tinted.
        colours: [C, 3] uint8.
        opacity: opacity of the tint.

    Returns:
        uint8 [H, W, 3].

    Raises:
        IndexError: for a label without a colour.
    """
    shades, out = tabulate_shades(colours, opacity), np.empty_like(image)
    line = find_boundaries(labels, width=max(1, round(min(labels.shape) / 400)))
    for top in range(0, len(image), ROWS):
        rows = slice(top, top + ROWS)
        part = labels[rows]
        row = np.where(part == IGNORED, 0, part).astype(np.intp)
        if row.min(initial=0) < 0 or row.max(initial=0) >= max(1, len(colours)):
            raise IndexError(f"labels are 0 to {len(colours) - 1} or {IGNORED}")
        row[part == IGNORED] = len(colours)
        row = 256 * (2 * row + line[rows])
        for channel, shade in enumerate(shades):
            out[rows, :, channel] = shade.take(row + image[rows, :, channel])
    return out


def tabulate_shades(colours: np.ndarray, opacity: float) -> np.ndarray:
    """Tabulate what becomes of each value of a channel: a picture has a hundred times as many
    pixels as there are different answers.

    Args:
        colours: [C, 3] uint8.
        opacity: see `draw_overlay`.

    Returns:
        uint8 [3, (C + 1) * 2 * 256]: by colour, the last of which is none; off and on a line; by
        value.
    """
    value = np.arange(256.0)
    tinted = opacity * (colours[:, :, None] - value) + value
    shades = np.concatenate([tinted, np.broadcast_to(value, (1, 3, 256))])
    shades = np.stack([shades, shades + 0.75 * (255 - shades)], 1)
    return np.round(shades).astype(np.uint8).transpose(2, 0, 1, 3).reshape(3, -1)


def find_boundaries(labels: np.ndarray, *, width: int = 1) -> np.ndarray:
    """Return bool [H, W]: pixels whose neighbour `width` to the right or below has another
    label.
    """
    line = np.zeros(labels.shape, bool)
    line[:, :-width] |= labels[:, width:] != labels[:, :-width]
    line[:-width] |= labels[width:] != labels[:-width]
    return line


def measure_shares(labels: np.ndarray, count: int) -> np.ndarray:
    """Return the share of pixels of each label, [count]; IGNORED pixels do not count."""
    known = labels[labels != IGNORED]
    return np.bincount(known.ravel(), minlength=count) / max(1, known.size)


def load_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Load Pillow's built-in font."""
    return ImageFont.load_default(size)


def shorten(text: str, face: Any, width: float) -> str:
    """Shorten a text to at most `width` pixels in a font."""
    if face.getlength(text) <= width:
        return text
    kept = len(text)
    while kept and face.getlength(text[:kept].rstrip() + "...") > width:
        kept -= 1
    return text[:kept].rstrip() + "..."


def draw_legend(
    names: Sequence[str],
    colours: np.ndarray,
    width: int,
    *,
    size: int = 13,
    struck: Sequence[bool] = (),
) -> np.ndarray:
    """Draw a legend: a coloured square and a name per label, on as many lines as needed.

    Args:
        names: [n] label names.
        colours: [n, 3] uint8.
        width: width in pixels.
        size: font size.
        struck: which names are struck through; empty for none.

    Returns:
        uint8 [h, width, 3]; h is 0 without names.
    """
    face, gap = load_font(size), size // 2
    lengths = [round(face.getlength(name)) for name in names]
    places, height = place_labels(lengths, width, size)
    strip = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(strip)
    for name, colour, (x, y), out in zip(
        names, colours.tolist(), places, struck or [False] * len(names), strict=True
    ):
        start, middle = x + size + gap, y + size / 2
        draw.rounded_rectangle((x, y, x + size, y + size), radius=size // 4, fill=tuple(colour))
        draw.text((start, middle), name, fill=FAINT if out else INK, font=face, anchor="lm")
        if out:
            draw.line((start, middle, start + face.getlength(name), middle), fill=WRONG)
    return np.asarray(strip)


def place_labels(
    lengths: Sequence[int], width: int, size: int
) -> tuple[list[tuple[int, int]], int]:
    """Return the upper left corner of each label of a legend, and the legend's height.

    Args:
        lengths: of the names, in pixels.
        width: of the legend.
        size: font size, and side of the coloured square.
    """
    gap, line = size // 2, round(size * 1.6)
    places, x, y = [], gap, gap
    for length in (size + gap + length for length in lengths):
        if x > gap and x + length + gap > width:
            x, y = gap, y + line
        places.append((x, y))
        x += length + 2 * gap
    return places, y + line if places else 0


def add_legend(picture: np.ndarray, names: Sequence[str], colours: np.ndarray) -> np.ndarray:
    """Add a legend below a picture."""
    size = max(13, round(min(picture.shape[:2]) / 30))
    return np.concatenate([picture, draw_legend(names, colours, picture.shape[1], size=size)])


def draw_sheet(
    titles: Sequence[str], rows: Sequence[Sequence[np.ndarray]], *, gap: int = 8
) -> np.ndarray:
    """Draw pictures in a grid with a title above each column.

    Args:
        titles: one per column.
        rows: pictures uint8 [h, w, 3], one per column; aligned to the top left of their cells.
        gap: pixels between cells.

    Returns:
        uint8 [H, W, 3].
    """
    width = max(cell.shape[1] for row in rows for cell in row)
    heights = [max(cell.shape[0] for cell in row) for row in rows]
    top = 28
    page = Image.new(
        "RGB",
        (len(titles) * (width + gap) - gap, top + sum(heights) + gap * (len(rows) - 1)),
        PAPER,
    )
    draw, face = ImageDraw.Draw(page), load_font(15)
    for column, title in enumerate(titles):
        draw.text((column * (width + gap), top / 2), title, fill=INK, font=face, anchor="lm")
    y = top
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            page.paste(Image.fromarray(cell), (column * (width + gap), y))
        y += height + gap
    return np.asarray(page)


def fit(picture: np.ndarray, side: int) -> np.ndarray:
    """Shrink a picture, if necessary, so that no side is longer than `side` pixels."""
    image = Image.fromarray(picture)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.asarray(image)


def check_writable(path: Path) -> str:
    """Return the image format of a file name, after checking that it can be written.

    Raises:
        UserError: for an unsupported format, or a path that cannot be written.
    """
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind not in ("PNG", "JPEG", "WEBP"):
        raise UserError(f"{path}: unsupported image format; use .png, .jpg or .webp")
    parent = next(p for p in path.absolute().parents if p.exists())
    if path.is_dir() or not parent.is_dir() or not os.access(parent, os.W_OK):
        reason = "it is a folder" if path.is_dir() else f"{parent} is not a writable folder"
        raise UserError(f"{path}: cannot be written ({reason}); choose another file")
    return kind


def write_picture(picture: np.ndarray, path: Path) -> None:
    """Write a picture uint8 [H, W, 3] or labels [H, W], atomically and without metadata. JPEG is
    written without chroma subsampling, which keeps thin lines sharp.

    Raises:
        UserError: see `check_writable`.
    """
    kind = check_writable(path)
    settings = {
        "JPEG": {"quality": 88, "subsampling": 0, "optimize": True},
        # four times as fast as zlib's default strategy, and as small
        "PNG": {"compress_type": zlib.Z_RLE},
        "WEBP": {"lossless": True},
    }.get(kind, {})
    with atomic_path(path) as part:
        Image.fromarray(picture).save(part, kind, **settings)
