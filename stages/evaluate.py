"""evaluate: zero-shot scores of one recipe on the test split.

Reads models/RECIPE, data/index, data/regions, data/truth and the encoder; writes reports/recipes/RECIPE.json, and the
areas of every picture, which recipes are compared by.
"""

from __future__ import annotations

from captionseg.benchmarks import areas as table
from captionseg.benchmarks.benchmark import Folders
from captionseg.benchmarks.recipe import evaluate
from captionseg.inference.inputs import Prepared
from captionseg.params import Params
from captionseg.storage import write_json
from stages.kinds import In, Out

PARAMS = ("seed", "download.source", "evaluate")


def main(  # noqa: PLR0913 - a stage has an argument for each of its paths
    params: Params, *, recipe: str, model: In, pairs: In, index: In, regions: In, features: In, truth: In, scores: Out,
    areas: Out,
) -> dict[str, float]:
    """Score one recipe."""
    folders = Folders(Prepared(pairs, index, regions, features), truth)
    found = evaluate(model, folders, params.evaluate, seed=params.seed, recipe=recipe)
    write_json({"recipe": recipe, "benchmark": params.evaluate.name, **found.result}, scores)
    table.write(found.areas, found.uids, found.seeds, areas)
    return {**found.result["scores"], "images_per_second": found.images_per_second}
