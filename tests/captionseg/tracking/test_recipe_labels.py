"""What is read from params.yaml without its dataclasses has the defaults that they have."""

from captionseg.params import Params
from captionseg.recipes import Recipe
from captionseg.tracking.environment import is_off
from captionseg.tracking.recipe_labels import list_labels
from captionseg.training.params import PretrainParams


def test_labels_have_the_defaults_of_recipes(tmp_path):
    text = "pretrain: {}\nevaluate: {}\nrecipes: {a: {curation: cocu, archive: nouns}}\n"
    (tmp_path / "params.yaml").write_text(text)
    params = Params(tmp_path / "params.yaml")
    recipe = Recipe("cocu", "nouns")
    assert list_labels(params, "a") == {
        "recipe": "a",
        "curation": recipe.curation,
        "archive": recipe.archive,
        "model": recipe.model,
        "preset": recipe.preset or "none",
        "benchmark": params.evaluate.name,
        "seeds": str(len(PretrainParams().seeds)),
    }


def test_off_has_several_words():
    said = {
        word: is_off({"CAPTIONSEG_TRACKING": word})
        for word in ("off", " OFF ", "0", "no", "", "on", "1")
    }
    assert said == {
        "off": True,
        " OFF ": True,
        "0": True,
        "no": True,
        "": False,
        "on": False,
        "1": False,
    }
    assert not is_off({})


def test_scores_are_filed_under_the_datas_source_unless_they_are_named(tmp_path):
    """As captionseg.params has it: a run on a folder is none of photo_scenes."""
    rest = "recipes: {a: {curation: cocu, archive: nouns}}\n"
    for text, name in (
        ("download: {}\nevaluate: {}\n", "photo_scenes"),
        ("download: {source: folder}\nevaluate: {}\n", "folder"),
        ("download: {source: folder}\nevaluate: {name: mine}\n", "mine"),
    ):
        (tmp_path / "params.yaml").write_text(text + rest)
        params = Params(tmp_path / "params.yaml")
        assert list_labels(params, "a")["benchmark"] == params.evaluate.name == name
