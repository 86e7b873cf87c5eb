"""The recipes that a recipe is compared with: its baseline and its control."""

from __future__ import annotations

from collections.abc import Mapping

from captionseg.recipes import Recipe


def find_baseline(recipes: Mapping[str, Recipe], name: str) -> str | None:
    """Return the recipe with the same model that learns from caption nouns alone, the first of
    several; None if there is none or it is the recipe itself.
    """
    baselines = (
        other
        for other, recipe in recipes.items()
        if recipe.curation == recipe.archive == "nouns" and recipe.model == recipes[name].model
    )
    first = next(baselines, None)
    return first if first != name else None


def find_control(recipes: Mapping[str, Recipe], name: str) -> str | None:
    """Return the recipe that differs from this one only in its texts, which are caption nouns.

    The gain over the control is due to better texts; the rest of the gain over the baseline is due
    to a better negative mask.
    """
    recipe = recipes[name]
    if recipe.curation == "nouns":
        return None
    return next(
        (
            other
            for other, control in recipes.items()
            if (control.curation, control.archive) == ("nouns", recipe.archive)
            and (control.model, control.settings) == (recipe.model, recipe.settings)
        ),
        None,
    )


def is_control(recipe: Recipe) -> bool:
    """Return whether a recipe has caption nouns as texts, but another rule's archive."""
    return recipe.curation == "nouns" != recipe.archive
