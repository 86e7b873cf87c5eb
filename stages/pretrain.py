"""pretrain: one recipe, all its seeds.

Reads data/index, features, regions, supervision, truth (tune split only, to keep the best epoch),
verdict.json (failed tables train nothing), and what a model asks for of pairs and segments; writes
models/RECIPE, and reports/timings.
"""

from __future__ import annotations

from dataclasses import asdict

from captionseg.datasets.ids import hash_ids, read_ids
from captionseg.inference.inputs import PreparedFolders
from captionseg.params import Params
from captionseg.records import UserError
from captionseg.storage.reading import read_json
from captionseg.storage.writing import write_json
from captionseg.tracking.tracker import Tracker
from captionseg.training.pretrain import Folders, pretrain
from stages.kinds import In, Note, Out

PARAMS = ("seed", "download.source", "regions", "pretrain", "recipes.{recipe}", "runtime.precision")


def main(  # noqa: PLR0913 - a stage has an argument for each of its paths
    params: Params,
    *,
    recipe: str,
    pairs: In,
    index: In,
    regions: In,
    features: In,
    supervision: In,
    truth: In,
    segments: In,
    validation: In,
    model: Out,
    timing: Note,
    tracker: Tracker,
) -> dict[str, float]:
    """Train one recipe; in each of several processes, of which the first writes."""
    if recipe not in params.recipes:
        raise UserError(f"recipes.{recipe}: no such recipe (valid: {', '.join(params.recipes)})")
    if read_json(validation, todo="run `dvc repro validate`").get("success") is not True:
        raise UserError(
            f"{validation}: the tables failed their validation; run `dvc repro validate`"
        )
    context = {
        "regions": asdict(params.regions),
        "prompts": params.pretrain.prompts,
        "data": {"source": params.value("download.source"), "ids": hash_ids(read_ids(index))},
    }
    folders = Folders(
        PreparedFolders(pairs, index, regions, features), supervision, truth, segments
    )
    measures = pretrain(
        params.recipes[recipe],
        params.pretrain,
        folders,
        name=recipe,
        context=context,
        out=model,
        tell=tracker.metrics,
        runtime=params.runtime,
    )
    if measures:
        write_json({key: measures[key] for key in ("images_per_second", "seconds")}, timing)
        tracker.model(model, recipe)
    return measures
