"""Which recipe is compared with which."""

from captionseg.recipes import Recipe
from captionseg.reporting.baselines import find_baseline, find_control, is_control


def test_baselines_and_controls(recipes):
    recipes |= {
        "other-mil": Recipe("other", "other"),
        "cocu_wide-mil": Recipe("cocu", "cocu", settings={"width": 9}),
    }
    assert [find_baseline(recipes, name) for name in recipes] == [None, *["nouns-mil"] * 4]
    assert [find_control(recipes, name) for name in recipes] == [
        None,
        None,
        "cocu_control-mil",
        None,
        None,
    ]
    assert [name for name in recipes if is_control(recipes[name])] == ["cocu_control-mil"]
    assert find_baseline({"other-mil": recipes["other-mil"]}, "other-mil") is None
