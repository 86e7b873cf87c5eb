"""report: metrics.json, summary.json, plots, pictures and the pages of a run, from the outputs of
all stages before it.

Equal seeds give equal reports.
"""

from __future__ import annotations

from captionseg.inference.prepared_folders import PreparedFolders
from captionseg.params import Params
from captionseg.reporting.artifacts import Folders
from captionseg.reporting.report import Outputs
from captionseg.reporting.report import write_report as write
from captionseg.tracking.recipe_labels import list_labels
from captionseg.tracking.tracker import Tracker
from stages.kinds import In, Out

PARAMS = ("seed", "download.source", "evaluate", "report", "recipes", "about", "gate")


def main(  # noqa: PLR0913 - a stage has an argument for each of its paths
    params: Params,
    *,
    pairs: In,
    truth: In,
    index: In,
    regions: In,
    features: In,
    supervision: In,
    segments: In,
    models: In,
    recipes: In,
    areas: In,
    curation: In,
    validation: In,
    metrics: Out,
    summary: Out,
    plots: Out,
    pictures: Out,
    page: Out,
    data: Out,
    tracker: Tracker,
) -> dict[str, float]:
    """Write the report, and record its numbers and files for the whole reproduction."""
    prepared = PreparedFolders(pairs, index, regions, features)
    folders = Folders(
        prepared, truth, supervision, segments, models, recipes, areas, curation, validation
    )
    out = Outputs(metrics, summary, plots, pictures, page, data)
    numbers = write(
        folders,
        out,
        params.report,
        recipes=params.recipes_with_about,
        gate=params.gate,
        scored=params.evaluate,
        seed=params.seed,
        source=params.value("download.source"),
    )
    tracker.summary(numbers, [metrics, plots, pictures, page, data])
    labels = {name: list_labels(params, name) for name in params.recipes}
    of_recipes = {"models": models, "areas": areas, "pairs": pairs, "pictures": pictures}
    tracker.recipes(numbers, labels, benchmark=params.evaluate.name, folders=of_recipes)
    return {"gate.passed": float(numbers["gate"]["passed"])}
