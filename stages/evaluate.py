"""evaluate: zero-shot scores of one recipe on the test split.

Reads models/RECIPE, data/index, data/regions, data/truth and the encoder; writes
reports/recipes/RECIPE.json, its scores again as DVC metrics of this recipe, and the areas of every
picture, which are needed to compare recipes.
"""

from __future__ import annotations

from captionseg.benchmarks import areas as table
from captionseg.benchmarks.benchmark import Folders
from captionseg.benchmarks.recipe import evaluate
from captionseg.inference.prepared_folders import PreparedFolders
from captionseg.params import Params
from captionseg.storage.writing import write_json
from captionseg.tracking.recipe_labels import list_labels
from captionseg.tracking.tracker import Tracker
from stages.kinds import In, Out

PARAMS = ("seed", "download.source", "evaluate")


def main(  # noqa: PLR0913 - a stage has an argument for each of its paths
    params: Params,
    *,
    recipe: str,
    model: In,
    pairs: In,
    index: In,
    regions: In,
    features: In,
    truth: In,
    scores: Out,
    metrics: Out,
    areas: Out,
    tracker: Tracker,
) -> dict[str, float]:
    """Score one recipe; its numbers are recorded even if the rest of the reproduction fails."""
    folders = Folders(PreparedFolders(pairs, index, regions, features), truth)
    evaluation = evaluate(model, folders, params.evaluate, seed=params.seed, recipe=recipe)
    result = evaluation.result
    write_json({"recipe": recipe, "benchmark": params.evaluate.name, **result}, scores)
    table.write(evaluation.areas, evaluation.uids, evaluation.seeds, areas)
    name = params.evaluate.name
    also = {f"{name}@{by}": other["scores"] for by, other in result.get("also", {}).items()}
    mine = {recipe: {name: result["scores"], **also} if result["scores"] else {}}
    write_json(mine, metrics)
    tracker.summary({"recipes": mine})
    tracker.recipes(
        {"recipes": mine},
        {recipe: list_labels(params, recipe)},
        benchmark=name,
        folders={"models": model.parent, "areas": areas, "pairs": pairs},
    )
    if not result["scores"]:
        return {}
    return {**result["scores"], "images_per_second": evaluation.images_per_second}
