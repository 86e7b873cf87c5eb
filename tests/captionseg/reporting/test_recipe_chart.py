"""The bars of recipes are sorted and have a key."""

from matplotlib.figure import Figure

from captionseg.reporting import recipe_chart
from captionseg.reporting.charts import THEMES, choose_styles
from captionseg.reporting.recipe_chart import draw_recipes, list_key


def test_the_highest_bar_is_the_first(recipes, tmp_path, monkeypatch):
    painted = []
    monkeypatch.setattr(recipe_chart, "draw", lambda *args: painted.append(args[-1]))
    values = {"nouns-mil": 27.0, "cocu_control-mil": 22.0, "cocu-mil": 33.0}
    scores = {
        name: {"scores": {"miou": v, "miou_low": v - 1, "miou_high": v + 1}, "seeds": {"0": v}}
        for name, v in values.items()
    }
    draw_recipes(tmp_path / "recipes", scores, choose_styles(recipes))
    figure = Figure(figsize=(9.6, 3))
    painted[0](figure, THEMES[0])
    axes = figure.axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["cocu-mil", "nouns-mil", "cocu_control-mil"]
    assert [bar.get_width() for bar in axes.patches] == [33.0, 27.0, 22.0]
    assert len(figure.legends[0].get_texts()) == 5


def test_the_key_has_what_the_chart_has(recipes):
    looks = choose_styles(recipes)
    texts = [mark.get_label() for mark in list_key([*looks.values()], THEMES[0])]
    assert [text.split(":")[0] for text in texts] == [
        "recipe with a baseline",
        "its control",
        "baseline, or recipe without one",
        "95 % interval over test pictures",
        "a single seed",
    ]
    assert len([*list_key([looks["nouns-mil"]], THEMES[0])]) == 3
