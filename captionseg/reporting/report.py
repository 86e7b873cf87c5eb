"""The whole report of a run, written file by file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captionseg.benchmarks.params import EvaluateParams
from captionseg.recipes import Recipe
from captionseg.reporting import heat, page, pictures, predictions
from captionseg.reporting.artifacts import Artifacts, Folders
from captionseg.reporting.charts import (
    Style,
    choose_styles,
    draw_classes,
    draw_curves,
    draw_recipes,
)
from captionseg.reporting.curation_pictures import show_curation
from captionseg.reporting.data_page import page as data_page
from captionseg.reporting.params import ReportParams
from captionseg.reporting.rendering import render
from captionseg.reporting.tables import write_metrics, write_plots
from captionseg.storage.writing import atomic_path, write_json


@dataclass(frozen=True)
class Outputs:
    """Where the report goes. The pages find their pictures in a folder `pictures` beside them.

    Attributes:
        metrics: metrics.json.
        plots: folder for `dvc plots`.
        pictures: folder of pictures.
        page: of the run.
        data: page of its data.
    """

    metrics: Path
    plots: Path
    pictures: Path
    page: Path
    data: Path


def write_report(
    folders: Folders,
    out: Outputs,
    params: ReportParams,
    *,
    recipes: Mapping[str, Recipe],
    gate: Mapping[str, str],
    scored: EvaluateParams,
    seed: int,
    source: str = "",
) -> dict[str, Any]:
    """Write numbers, plots, pictures and the page. Equal artifacts give equal bytes.

    Args:
        folders: outputs of the stages.
        out: output paths.
        params: section `report`.
        recipes: section `recipes`, in display order.
        gate: rules by name.
        scored: section `evaluate`: how pictures are labelled, and how intervals are computed.
        seed: seed for drawing pictures.
        source: name of the data source in section `download`.

    Returns:
        the content of metrics.json.
    """
    run = Artifacts(folders, recipes)
    numbers, verdicts = write_metrics(
        run,
        gate,
        measured=params.measured,
        source=source,
        split=scored.split,
        bootstrap=scored.bootstrap,
        seed=seed,
    )
    write_json(numbers, out.metrics)
    write_plots(run, out.plots)
    looks = choose_styles(recipes)
    shown = {
        "charts": draw_charts(run, params, out.pictures, looks),
        "data": pictures.show_data(run, params, out.pictures, seed=seed),
        "examples": show_curation(run, params, out.pictures, seed=seed),
        "segments": pictures.show_segments(run, params, out.pictures, seed=seed),
        "scenes": predictions.compare(run, params, scored.main_protocol, out.pictures, seed=seed),
        "heat": heat.compare(
            run, page.find_champion(run), params, scored.main_protocol, out.pictures, seed=seed
        ),
    }
    context = page.build_context(
        run, params, metrics=numbers, verdicts=verdicts, looks=looks, shown=shown, seed=seed
    )
    of_data = data_page.build_context(run, params, out.pictures, source=source, seed=seed)
    for path, template, shows in (
        (out.page, "report.html", context),
        (out.data, "data.html", of_data),
    ):
        with atomic_path(path) as part:
            part.write_text(render(template, shows), encoding="utf-8")
    return numbers


def draw_charts(
    run: Artifacts, params: ReportParams, folder: Path, looks: Mapping[str, Style]
) -> list[str]:
    """Draw the charts that there are numbers for; return their names."""
    drawn = []
    if run.curves:
        draw_curves(folder / "curves", run.curves, looks)
        drawn.append("curves")
    if run.scores:
        draw_recipes(folder / "recipes", run.scores, looks)
        drawn.append("recipes")
    if (pair := page.find_champion(run)) and (
        rows := page.list_class_changes(run, pair, params.classes)
    ):
        draw_classes(folder / "classes", rows, (pair[1], pair[0]), (looks[pair[1]], looks[pair[0]]))
        drawn.append("classes")
    return drawn
