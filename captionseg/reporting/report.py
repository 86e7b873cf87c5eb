"""The whole report of a run, written file by file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captionseg.benchmarks.params import EvaluateParams
from captionseg.inference.windows import Protocol
from captionseg.recipes import Recipe
from captionseg.reporting import heat, page, pictures, predictions
from captionseg.reporting.artifacts import Artifacts, Folders
from captionseg.reporting.ceiling import measure_ceiling
from captionseg.reporting.charts import Style, choose_styles, draw_classes, draw_curves
from captionseg.reporting.curation_pictures import show_curation
from captionseg.reporting.data_page import data_page as data_page
from captionseg.reporting.params import ReportParams
from captionseg.reporting.recipe_chart import draw_recipes
from captionseg.reporting.rendering import View, render
from captionseg.reporting.scene_choice import find_best
from captionseg.reporting.tables import round_numbers, summarize_run, write_metrics, write_plots
from captionseg.storage.writing import atomic_path, write_json


@dataclass(frozen=True)
class Outputs:
    """Where the report goes. The pages find their pictures in a folder `pictures` beside them.

    Attributes:
        metrics: metrics.json.
        summary: the few numbers that DVC shows, see `summarize_run`.
        plots: folder for `dvc plots`.
        pictures: folder of pictures.
        page: of the run.
        data: page of its data.
    """

    metrics: Path
    summary: Path
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
    ceiling = round_numbers(measure_ceiling(run, scored.split))
    write_json(numbers, out.metrics)
    write_json(summarize_run(run, numbers, ceiling), out.summary)
    write_plots(run, out.plots)
    looks = choose_styles(recipes)
    shown = draw_all(run, params, scored.main_protocol, out.pictures, looks, seed=seed)
    shown["ceiling"] = ceiling
    of_run = page.build_context(
        run, params, metrics=numbers, verdicts=verdicts, looks=looks, shown=shown, seed=seed
    )
    of_data = data_page.build_context(run, params, out.pictures, source=source, seed=seed)
    write_page(out.page, "report.html", of_run)
    write_page(out.data, "data.html", of_data)
    return numbers


def write_page(path: Path, template: str, context: Mapping[str, Any]) -> None:
    """Write a page from its template."""
    with atomic_path(path) as part:
        part.write_text(render(template, context), encoding="utf-8")


def draw_all(
    run: Artifacts,
    params: ReportParams,
    protocol: Protocol,
    folder: Path,
    looks: Mapping[str, Style],
    *,
    seed: int,
) -> dict[str, Any]:
    """Draw all pictures of the page of the run; return what the page says of them, by part."""
    champion, best = page.find_champion(run), find_best(run)
    return {
        "charts": draw_charts(run, params, folder, looks),
        "data": pictures.show_data(run, params, folder, seed=seed),
        "examples": show_curation(run, params, folder, seed=seed),
        "segments": pictures.show_segments(run, params, folder, seed=seed),
        "shown_best": best,
        "scenes": predictions.compare(run, best, params, protocol, folder, seed=seed),
        "heat": heat.compare(run, champion, params, protocol, folder, seed=seed),
    }


def draw_charts(
    run: Artifacts, params: ReportParams, folder: Path, looks: Mapping[str, Style]
) -> dict[str, View]:
    """Draw the charts that there are numbers for; return the size of each, by name."""
    drawn = {}
    if run.curves:
        drawn["curves"] = draw_curves(folder / "curves", run.curves, looks)
    if run.scores:
        drawn["recipes"] = draw_recipes(folder / "recipes", run.scores, looks)
    if (pair := page.find_champion(run)) and (
        rows := page.list_class_changes(run, pair, params.classes)
    ):
        names, styles = (pair[1], pair[0]), (looks[pair[1]], looks[pair[0]])
        drawn["classes"] = draw_classes(folder / "classes", rows, names, styles)
    return drawn
