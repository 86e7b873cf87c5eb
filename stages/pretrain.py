"""pretrain: one recipe, all its seeds.

Reads data/index, data/features (the encoder; dense features), data/regions, data/supervision, data/truth (tune split
only, to keep the best epoch), and what a model asks for of data/pairs and data/segments; writes models/RECIPE, and
reports/timings/RECIPE.json: what differs from run to run. Depends on data/verdict.json: failed tables train nothing.
Where section `runtime` asks for several processes it runs in each of them.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from captionseg.inference.inputs import Prepared
from captionseg.params import Params
from captionseg.records import UserError
from captionseg.storage import write_json
from captionseg.tracking import Tracker
from captionseg.training.loader import Folders
from captionseg.training.pretrain import pretrain
from stages.kinds import In, Out

PARAMS = ("seed", "regions", "pretrain", "recipes.{recipe}", "runtime.precision")
RANKS = True


def main(  # noqa: PLR0913 - a stage has an argument for each of its paths
    params: Params, *, recipe: str, pairs: In, index: In, regions: In, features: In, supervision: In, truth: In,
    segments: In, validation: In, model: Out, timing: Out, tracker: Tracker,
) -> dict[str, float]:
    """Train one recipe."""
    if recipe not in params.recipes:
        raise UserError(f"recipes.{recipe}: no such recipe (valid: {', '.join(params.recipes)})")
    if not json.loads(validation.read_text())["success"]:
        raise UserError(f"{validation}: the tables failed their validation; run `dvc repro validate`")
    context = {"regions": asdict(params.regions), "prompts": params.pretrain.prompts}
    folders = Folders(Prepared(pairs, index, regions, features), supervision, truth, segments)
    metrics = pretrain(params.recipes[recipe], params.pretrain, folders, name=recipe, context=context, out=model,
                       tell=tracker.metrics, runtime=params.runtime)
    if not metrics:  # another process writes
        return {}
    write_json({key: metrics[key] for key in ("images_per_second", "seconds")}, timing)
    tracker.model(model, recipe)
    return metrics
