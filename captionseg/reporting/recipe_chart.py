"""The chart of all recipes: a bar each, the best first, with a key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from captionseg.reporting.charts import (
    GREY,
    NARROW,
    ChartSize,
    Style,
    Theme,
    draw,
    is_narrow,
    mix_colours,
)


def draw_recipes(
    path: Path, scores: Mapping[str, Mapping[str, Any]], looks: Mapping[str, Style]
) -> ChartSize:
    """Draw the mIoU of every recipe, the highest first, with its 95 % interval and a dot per seed,
    and a key.

    Args:
        path: without suffix.
        scores: recipe -> its scores, and mIoU by seed.
        looks: styles of recipes.

    Returns:
        see `draw`.
    """
    order = sorted(scores, key=lambda name: -scores[name]["scores"]["miou"])

    def paint(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots()
        for place, name in enumerate(order):
            _draw_bar(axes, place, scores[name], looks[name], theme)
        axes.set_yticks(range(len(order)), order)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        most = max(s["scores"]["miou_high"] for s in scores.values())
        axes.set_xlim(0, (1.28 if is_narrow(figure) else 1.08) * most + 1.5)
        axes.set_xlabel("mIoU, %")
        columns = 1 if is_narrow(figure) else 3
        key = list(list_key([looks[name] for name in order], theme))
        figure.legend(handles=key, loc="outside lower center", ncols=columns, fontsize=8)

    bars = len(scores)
    return draw(path, (9.6, 1.4 + 0.42 * bars), (NARROW, 1.9 + 0.3 * bars), paint)


def list_key(looks: Sequence[Style], theme: Theme) -> Iterator[Artist]:
    """Yield a mark with its meaning for each kind of mark that the chart has."""
    own = [look for look in looks if look.colour != GREY]
    kinds = {
        "recipe with a baseline": [look for look in own if look.alpha == 1],
        "its control": [look for look in own if look.alpha < 1],
        "baseline, or recipe without one": [look for look in looks if look.colour == GREY],
    }
    for label, found in kinds.items():
        if found:
            yield Patch(color=fill_colour(found[0], theme), label=f"{label}: mean over seeds")
    yield Line2D([], [], color=theme.ink, linewidth=1.4, label="95 % interval over test pictures")
    dot: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 4.5}
    yield Line2D([], [], **dot, color=own[0].colour if own else GREY, label="a single seed")


def fill_colour(look: Style, theme: Theme) -> tuple[float, float, float]:
    """Return the colour of a recipe's bar."""
    return mix_colours(look.colour, theme.paper, 0.55 * look.alpha + 0.1)


def _draw_bar(axes: Axes, place: int, scored: Mapping[str, Any], look: Style, theme: Theme) -> None:
    s, seeds = scored["scores"], list(scored["seeds"].values())
    axes.barh(place, s["miou"], height=0.62, color=fill_colour(look, theme))
    axes.plot([s["miou_low"], s["miou_high"]], [place, place], color=theme.ink, linewidth=1.4)
    axes.plot(
        seeds,
        [place] * len(seeds),
        "o",
        markersize=4.5,
        color=look.colour,
        markeredgecolor=theme.paper,
        markeredgewidth=0.8,
    )
    right = max([s["miou_high"], *seeds]) + 0.6
    axes.text(right, place, f"{s['miou']:.1f}", va="center", fontweight="bold")
