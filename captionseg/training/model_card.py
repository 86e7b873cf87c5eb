"""The model card: README.md beside the weights of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from captionseg.recipes import Recipe
from captionseg.storage.markdown import escape
from captionseg.training.params import PretrainParams


def write_card(
    path: Path,
    recipe: Recipe,
    params: PretrainParams,
    fits: dict[int, dict],
    *,
    best: int,
    context: dict[str, Any],
) -> None:
    """Write the model card; `context` is saved with the model."""
    name, known = context["recipe"], any("tune_miou" in fit for fit in fits.values())
    chosen = (
        f"seed {best}, the best on the tune split"
        if known
        else f"seed {best}, the first: no picture of the tune split has a mask, so nothing was "
        "chosen by its score"
    )
    path.write_text(
        f"# {escape(name)}\n\n"
        f"{describe_training(recipe, params, fits, context)}\n\n{tabulate_fits(fits)}"
        f"`model.safetensors` is {chosen}. Scores on the test split, where its masks are known, "
        f"are in "
        "`reports/metrics.json`. Use it:\n\n"
        f'```\ncaptionseg segment picture.jpg --labels "zebra, grass" --model models/{name}\n```\n',
        encoding="utf-8",
    )


def describe_training(
    recipe: Recipe, params: PretrainParams, fits: dict[int, dict], context: dict[str, Any]
) -> str:
    """Say what a model learnt from, or that it learnt nothing."""
    if not any("loss" in fit for fit in fits.values()):
        return f"Model `{recipe.model}`. Nothing was trained."
    data = context.get("data", {})
    soup = f" Each seed: the mean of the weights of {params.soup} runs." if params.soup > 1 else ""
    learnt = f" Learnt from `{data['source']}`, pairs {data['ids']}." if data else ""
    return (
        f"Model `{recipe.model}`, texts drawn from the concepts of rule `{recipe.curation}`, "
        f"negatives masked by the "
        f"archive of `{recipe.archive}`. {params.epochs} epochs, batch {params.batch}, "
        f"L = {params.texts}.{soup}{learnt}"
    )


def tabulate_fits(fits: dict[int, dict]) -> str:
    """Return the table of what is known of each seed; empty if nothing is."""
    known = {"tune mIoU (coarse grid)": ("tune_miou", 1), "last loss": ("loss", 3)}
    columns = {
        title: column
        for title, column in known.items()
        if any(column[0] in fit for fit in fits.values())
    }
    if not columns:
        return ""
    head = f"| seed | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}\n"
    rows = "".join(
        f"| {seed} | {' | '.join(format_score(fit, *column) for column in columns.values())} |\n"
        for seed, fit in fits.items()
    )
    return f"{head}{rows}\n"


def format_score(fit: dict[str, float], name: str, decimals: int) -> str:
    """Format a number of fit.json; a dash if it is missing."""
    return f"{fit[name]:.{decimals}f}" if name in fit else "-"
