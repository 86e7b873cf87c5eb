"""How recipes look, and how numbers are written."""

import numpy as np
import pytest

from captionseg.recipes import Recipe
from captionseg.reporting.charts import (
    GREY,
    _smooth,
    choose_styles,
    draw,
    format_signed,
    mix_colours,
)


def test_a_control_has_its_recipes_colour_and_is_dashed(recipes):
    looks = choose_styles({**recipes, "other-mil": Recipe("other", "other")})
    assert looks["nouns-mil"].colour == GREY
    assert looks["cocu_control-mil"].colour == looks["cocu-mil"].colour
    assert looks["cocu_control-mil"].dashes != looks["cocu-mil"].dashes
    assert len({look.colour for look in looks.values()}) == 3


def test_signed_numbers():
    assert [format_signed(v) for v in (1.25, -1.26, 0.04, -0.04)] == [
        "+1.2",
        "\N{MINUS SIGN}1.3",
        "0.0",
        "0.0",
    ]


def test_smoothing_is_a_trailing_mean():
    assert _smooth(np.array([1.0, 3.0, 5.0, 7.0]), 2).tolist() == [1.0, 2.0, 4.0, 6.0]
    assert _smooth(np.array([1.0, 3.0]), 1).tolist() == [1.0, 3.0]


def test_mixed_colours():
    assert mix_colours("#000000", "#ffffff", 0.25) == pytest.approx((0.75, 0.75, 0.75))


def test_a_chart_is_drawn_for_light_and_dark_for_wide_and_narrow(tmp_path):
    size = draw(
        tmp_path / "chart", (5, 1), (2, 1), lambda figure, theme: figure.subplots().plot([0, 1])
    )
    assert sorted(f.name for f in tmp_path.iterdir()) == [
        "chart.png",
        "chart_dark.png",
        "chart_narrow.png",
        "chart_narrow_dark.png",
    ]
    assert size == {"wide": {"width": 800, "height": 160}, "narrow": {"width": 320, "height": 160}}
    assert b"Software" not in (tmp_path / "chart.png").read_bytes()
