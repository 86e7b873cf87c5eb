"""Charts as PNG, each in a light and a dark version, for wide and for narrow screens. Equal numbers
give equal bytes: no dates, no versions.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from captionseg.recipes import Recipe
from captionseg.records import UserError
from captionseg.reporting.baselines import find_baseline, find_control, is_control
from captionseg.storage.writing import atomic_path

HUES = ("#2f6fde", "#d9542b", "#159a72", "#a347c9", "#c98a00", "#0e96b0", "#d13b7c", "#6d8a12")
GREY = "#8a8a85"
NARROW = 4.2
"""Width of a chart for narrow screens, in inches."""
GREYS = ("-", ":", "-.", "--")
"""Line styles of the baselines, in order."""

ChartSize = dict[str, dict[str, int]]
"""`wide` and `narrow` -> `width` and `height` of a chart's files in pixels."""


@dataclass(frozen=True)
class Theme:
    """Colours of a page: text, faint lines, background."""

    suffix: str
    ink: str
    faint: str
    paper: str


THEMES = (
    Theme("", "#262624", "#dcdcd6", "#ffffff"),
    Theme("_dark", "#e4e4df", "#3a3a38", "#1b1b1a"),
)


@dataclass(frozen=True)
class Style:
    """The look of a recipe in every chart; a control has its recipe's colour, dashed and
    lighter.
    """

    colour: str
    dashes: str
    alpha: float


def choose_styles(recipes: Mapping[str, Recipe]) -> dict[str, Style]:
    """Choose the styles of recipes: baselines are grey with different dashes, every other recipe
    has a colour that its control shares.
    """
    out: dict[str, Style] = {}
    own = [
        name
        for name, recipe in recipes.items()
        if find_baseline(recipes, name) and not is_control(recipe)
    ]
    for number, name in enumerate(own):
        hue = HUES[number % len(HUES)]
        out[name] = Style(hue, "-", 1.0)
        if control := find_control(recipes, name):
            out[control] = Style(hue, (0, (4, 2)), 0.55)  # type: ignore[arg-type]
    for number, name in enumerate(name for name in recipes if name not in out):
        out[name] = Style(GREY, GREYS[number % len(GREYS)], 1.0)
    return {name: out[name] for name in recipes}


def format_signed(value: float, decimals: int = 1) -> str:
    """Format a number with its sign and a typographic minus; zero has no sign."""
    text = f"{value:+.{decimals}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def mix_colours(colour: str, ground: str, share: float) -> tuple[float, float, float]:
    """Return the opaque colour that looks like `colour` drawn on `ground` with an opacity."""
    first, second = (np.array(to_rgb(c)) for c in (colour, ground))
    red, green, blue = (share * first + (1 - share) * second).tolist()
    return red, green, blue


def draw(
    path: Path,
    wide: tuple[float, float],
    narrow: tuple[float, float],
    paint: Callable[[Figure, Theme], None],
) -> ChartSize:
    """Draw a chart as PATH.png and PATH_dark.png, and as PATH_narrow.png and PATH_narrow_dark.png.

    Args:
        path: without suffix.
        wide: width and height in inches.
        narrow: the same for narrow screens.
        paint: draws it on a figure; `is_narrow` tells which one it is.

    Returns:
        `wide` and `narrow` -> width and height in pixels.
    """
    for (suffix, size), theme in itertools.product({"": wide, "_narrow": narrow}.items(), THEMES):
        with (
            mpl.rc_context(style_charts(theme)),
            atomic_path(path.with_name(f"{path.name}{suffix}{theme.suffix}.png")) as part,
        ):
            figure = Figure(figsize=size, layout="constrained")
            FigureCanvasAgg(figure)
            paint(figure, theme)
            figure.savefig(part, format="png", dpi=160, metadata={"Software": None})
    return {
        "wide": measure_picture(path.with_name(f"{path.name}.png")),
        "narrow": measure_picture(path.with_name(f"{path.name}_narrow.png")),
    }


def style_charts(theme: Theme) -> Any:
    """Return matplotlib's settings for a theme."""
    return {
        "text.color": theme.ink,
        "axes.labelcolor": theme.ink,
        "xtick.color": theme.ink,
        "ytick.color": theme.ink,
        "axes.edgecolor": theme.faint,
        "axes.facecolor": theme.paper,
        "figure.facecolor": theme.paper,
        "grid.color": theme.faint,
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "legend.frameon": False,
    }


def is_narrow(figure: Figure) -> bool:
    """Return whether a figure is for narrow screens."""
    return figure.get_figwidth() <= NARROW


def measure_picture(path: Path) -> dict[str, int]:
    """Return the width and height of a picture file in pixels; pages need them to keep its place.

    Raises:
        UserError: if it is damaged.
    """
    try:
        with Image.open(path, formats=["PNG", "JPEG"]) as image:
            return {"width": image.width, "height": image.height}
    except OSError as error:
        raise UserError(f"{path}: not a readable picture ({error}); run `dvc repro`") from None


def draw_curves(
    path: Path,
    curves: Mapping[str, Mapping[int, Sequence[tuple[int, str, float]]]],
    looks: Mapping[str, Style],
) -> ChartSize:
    """Draw loss and tune mIoU over steps: a line for the mean of each recipe, a thin one
    per seed. Arguments and result as of `draw`.
    """

    def paint(figure: Figure, theme: Theme) -> None:
        scored = any(
            name == "tune_miou"
            for seeds in curves.values()
            for rows in seeds.values()
            for _, name, _ in rows
        )
        names = {
            "loss": "Training loss",
            **({"tune_miou": "mIoU on the tune split (coarse grid)"} if scored else {}),
        }
        shape = (len(names), 1) if is_narrow(figure) else (1, len(names))
        panels = figure.subplots(*shape, squeeze=False).ravel()
        for axes, (name, title) in zip(panels, names.items(), strict=True):
            for recipe, seeds in curves.items():
                values = [
                    [(step, v) for step, n, v in rows if n == name] for rows in seeds.values()
                ]
                _lines(axes, values, looks[recipe], recipe)
            axes.set_title(title)
            axes.set_xlabel("step")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=1 if is_narrow(figure) else min(5, max(1, len(labels))),
            handlelength=2.4,
        )

    return draw(path, (9.6, 3.7), (NARROW, 5.4 + 0.2 * len(curves)), paint)


def _lines(
    axes: Axes, seeds: Sequence[Sequence[tuple[int, float]]], look: Style, label: str
) -> None:
    """Draw thin lines for single seeds and a line for their mean over the steps they share."""
    lines = [np.array(rows, float).reshape(-1, 2) for rows in seeds]
    # smoothed, to show the trend rather than single batches
    window = max(1, max(len(line) for line in lines) // 20)
    for line in lines:
        line[:, 1] = _smooth(line[:, 1], window)
        axes.plot(
            *line.T,
            color=look.colour,
            alpha=0.28 * look.alpha,
            linewidth=0.7,
            linestyle=look.dashes,
        )
    steps = min(len(line) for line in lines)
    if steps:
        mean = np.mean([line[:steps] for line in lines], axis=0)
        axes.plot(
            *mean.T,
            color=look.colour,
            alpha=look.alpha,
            linewidth=1.8,
            linestyle=look.dashes,
            label=label,
        )


def _smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Return trailing means over `window` values, fewer at the start."""
    total = np.cumsum(np.concatenate([[0.0], values]))
    end = np.arange(1, len(values) + 1)
    start = np.maximum(0, end - window)
    return (total[end] - total[start]) / (end - start)


def draw_classes(
    path: Path,
    rows: Sequence[tuple[str, str, float, float]],
    names: tuple[str, str],
    looks: tuple[Style, Style],
) -> ChartSize:
    """Draw the IoU of classes for two recipes, joined by a line; result as of `draw`.

    Args:
        path: without suffix.
        rows: (class, kind, IoU of the first recipe, IoU of the second), in display order.
        names: names of both recipes.
        looks: styles of both recipes.
    """

    def paint(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots()
        first, second = (np.array([row[i] for row in rows]) for i in (2, 3))
        places = np.arange(len(rows))
        axes.hlines(places, first, second, color=looks[1].colour, alpha=0.45, linewidth=2.4)
        for values, name, look in zip((first, second), names, looks, strict=True):
            dots: dict[str, Any] = {
                "color": look.colour,
                "markeredgecolor": theme.paper,
                "markersize": 6,
            }
            axes.plot(values, places, "o", label=name, **dots)
        axes.set_yticks(
            places, [name if kind != "stuff" else f"{name} (stuff)" for name, kind, *_ in rows]
        )
        axes.invert_yaxis()
        axes.set_xlim(-1, max(1.0, first.max(), second.max()) * 1.12)
        beside: dict[str, Any] = {"xytext": (8, 0), "textcoords": "offset points"}
        for place, (a, b) in enumerate(zip(first, second, strict=True)):
            change = format_signed(b - a, 0)
            axes.annotate(change, (max(a, b), place), va="center", fontsize=8, **beside)
        axes.set_xlabel("IoU, %")
        figure.legend(loc="outside upper left", ncols=1 if is_narrow(figure) else 2)

    height = 0.24 * len(rows)
    return draw(path, (9.6, 1.1 + height), (NARROW, 1.3 + height), paint)
