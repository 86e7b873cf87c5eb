"""pretrain: trains all seeds of one recipe.

Reads data/index, features, regions, supervision, truth (only the tune split, to keep the best
epoch), verdict.json (nothing is trained on invalid tables), and pairs and segments if the model
needs them; writes models/RECIPE and reports/timings.
"""

from __future__ import annotations

from captionseg.datasets.ids import hash_ids, stream_ids
from captionseg.inference.prepared_folders import PreparedFolders
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
    """Train one recipe; every rank calls this, and the first one writes."""
    if recipe not in params.recipes:
        raise UserError(f"recipes.{recipe}: no such recipe (valid: {', '.join(params.recipes)})")
    if read_json(validation, todo="run `dvc repro validate`").get("success") is not True:
        raise UserError(f"{validation}: validation of the tables failed; run `dvc repro validate`")
    context = {
        "regions": params.regions.describe(),
        "prompts": params.pretrain.prompts,
        "data": {"source": params.value("download.source"), "ids": hash_ids(stream_ids(index))},
    }
    folders = Folders(
        PreparedFolders(pairs, index, regions, features),
        supervision,
        truth,
        segments,
        columns=model.parent / ".columns",
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
