"""Which recipe another one is compared with: its baseline, its control."""

from __future__ import annotations

from collections.abc import Mapping

from captionseg.recipes import Recipe


def find_baseline(recipes: Mapping[str, Recipe], name: str) -> str | None:
    """The recipe of the same model that learns from caption nouns alone; None for itself, or
    without one.
    """
    found = (
        other
        for other, recipe in recipes.items()
        if recipe.curation == recipe.archive == "nouns" and recipe.model == recipes[name].model
    )
    first = next(found, None)
    return first if first != name else None


def find_control(recipes: Mapping[str, Recipe], name: str) -> str | None:
    """The recipe that shares everything with this one but its texts, which are the caption's nouns.

    What is gained over it is the gain of better texts; the rest of the gain is that of a better
    negative mask.
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
    """Caption nouns as texts, another rule's archive as negative mask."""
    return recipe.curation == "nouns" != recipe.archive
