"""Compares all recipes of all runs with the papers: a page in two formats, charts and plot data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captionseg.recipes import Recipe
from captionseg.reporting.charts import choose_styles, draw_curves, measure_picture
from captionseg.reporting.comparison import own_runs, paper_tables
from captionseg.reporting.comparison.comparison import Comparison
from captionseg.reporting.comparison.document import (
    Block,
    Chart,
    Code,
    Document,
    Figure,
    Link,
    Listing,
    Section,
    Text,
)
from captionseg.reporting.comparison.document import render_html as as_html
from captionseg.reporting.comparison.document import render_markdown as as_markdown
from captionseg.reporting.comparison.other_data import build_other_data
from captionseg.reporting.comparison.papers import TABLES
from captionseg.reporting.comparison.plot_files import write_plots
from captionseg.reporting.comparison.results import OWN, Result
from captionseg.reporting.comparison.score_files import Folders, read
from captionseg.reporting.comparison.score_tables import build_scores
from captionseg.reporting.recipe_chart import draw_recipes
from captionseg.storage.writing import atomic_path

AGAIN = """\
make repro                              # the default run: training, reports/index.html, this page
make experiment NAME=groups             # GroupViT, OVSegmentor: reports/experiments/groups
make experiment NAME=frozen             # MaskCLIP, TCL and CoDe
make experiment NAME=segments           # USE
make experiment NAME=ablation           # the five rows of CoCu's Table 3
make experiment                         # list all experiments with cost and expected scores
python -m stages.keep NAME --about TEXT # keep the scores of any other `dvc exp run`
captionseg evaluate --recipe cocu-mil --benchmark voc --root /data    # a published benchmark
dvc repro compare                       # update this page with all existing results
dvc plots show                          # the same numbers as interactive plots
make mlflow                             # compare with every other run
"""


@dataclass(frozen=True)
class Outputs:
    """Output paths: the page in both formats, and a folder next to it for charts and CSV files."""

    markdown: Path
    page: Path
    charts: Path


def compare(folders: Folders, out: Outputs, *, recipes: Mapping[str, Recipe]) -> dict[str, Any]:
    """Write the comparison. Equal inputs give equal bytes.

    Args:
        folders: input paths.
        out: output paths.
        recipes: section `recipes` of params.yaml.

    Returns:
        for the tracker: the number of results, experiments, benchmarks and gaps; `gain` over the
        baseline by recipe, and `ablation`, mIoU by recipe, on the runs' own pictures.

    Raises:
        UserError: naming the file that is damaged, incomplete or missing.
    """
    data = Comparison.of_same_data(read(folders, recipes))
    out.charts.mkdir(parents=True, exist_ok=True)
    tables, gaps = paper_tables.build_blocks(data)
    page = build_document(
        data,
        tables,
        show_convergence(data, out.charts),
        build_pictures(folders.pictures, out),
        build_overview(data, out.charts),
    )
    for path, text in ((out.markdown, as_markdown(page)), (out.page, as_html(page))):
        with atomic_path(path) as part:
            part.write_text(text, encoding="utf-8")
    home = [
        r
        for r in data.results
        if (r.benchmark, r.protocol) == (data.home, OWN) and "miou" in r.scores
    ]
    steps = build_ablation(data)
    write_plots(data, out.charts, home, steps)
    return {
        "results": len(data.results),
        "experiments": len(data.runs) - 1,
        "benchmarks": len({r.benchmark for r in data.results}),
        "not_run": len(gaps),
        "gain": {data.name(r): r.baseline.value for r in home if r.baseline},
        "ablation": {r.recipe: r.scores["miou"] for _, r in steps},
    }


def build_document(
    data: Comparison,
    tables: Iterable[Block],
    curves: Iterable[Block],
    seen: Iterable[Block],
    chart: Iterable[Block],
) -> Document:
    """Build the page's content."""
    warning = (
        "Numbers from the papers are in separate grey rows or columns. They come from other "
        "pictures, millions of captions and larger models. They show what a method gains there, "
        "and must not be compared with ours digit by digit."
    )
    more = Text(
        (
            "Details of the default run: ",
            Link("index.html", "index.html"),
            ". The numbers: ",
            Link("metrics.json", "metrics.json"),
            ".",
        ),
        small=True,
    )
    lede, how = own_runs.describe_comparison(data)
    others = build_other_data(data)
    return Document(
        "Recipes, benchmarks and the tables of the papers",
        lede,
        (
            Section("scores", "Our recipes", [how, *chart, *build_scores(data), more]),
            *([Section("captions", "Rules on other data", others)] if others else []),
            Section("papers", "Comparison with the papers", [Text((warning,)), *tables]),
            Section("classes", "Best and worst classes", own_runs.build_classes(data)),
            Section("convergence", "Convergence", list(curves)),
            Section("pictures", "Side by side", list(seen)),
            Section("again", "Run it again", [Listing(AGAIN)]),
        ),
    )


# ------------------------------------------------------------------------------------------------
# charts and pictures


def build_overview(data: Comparison, folder: Path) -> list[Block]:
    """Draw a bar per recipe: its mIoU on the runs' own pictures, by its own protocol."""
    results = [
        r
        for r in data.results
        if (r.benchmark, r.protocol) == (data.home, OWN) and "miou_low" in r.scores
    ]
    if not results:
        return []
    looks = choose_styles({name: r for run in data.runs for name, r in run.recipes.items()})
    rows = {data.name(r): {"scores": r.scores, "seeds": r.seeds} for r in results}
    styles = {data.name(r): looks[r.recipe] for r in results}
    size = draw_recipes(folder / "recipes", rows, styles)
    return [Chart(f"{folder.name}/recipes", "mIoU of every recipe with its 95 % interval", size)]


def show_convergence(data: Comparison, folder: Path) -> list[Block]:
    """Show losses and tune mIoU of recipes and their baselines, for the default run and
    experiments.
    """
    out: list[Block] = [
        Text(
            (
                "Recipes and their baselines, without controls; CoCu shows such curves in its "
                "Fig. 3a. Thick: mean over seeds; thin: single seeds. The loss is a running "
                "mean. Recipes have different texts and so different losses: compare trends, not "
                "values. The tune mIoU is measured on a coarse grid.",
            ),
            small=True,
        )
    ]
    for run in data.runs:
        curves = own_runs.select_curves(data, run)
        if curves:
            name = f"curves_{re.sub(r'[^A-Za-z0-9_-]', '_', run.name)}" if run.name else "curves"
            size = draw_curves(
                folder / name,
                curves,
                choose_styles({recipe: run.recipes[recipe] for recipe in curves}),
            )
            title = f"loss and tune mIoU over steps, {run.name or 'default run'}"
            out += [
                own_runs.build_convergence(run, curves),
                Chart(f"{folder.name}/{name}", title, size),
            ]
    return out if len(out) > 1 else [Text(("No curves were kept.",))]


def build_pictures(folder: Path, out: Outputs) -> list[Block]:
    """Show the overlays and heat maps that the report drew, if they exist."""
    blocks: list[Block] = []
    for file, text in (
        ("overlays.jpg", "The same test pictures, labelled by the recipes of the default run"),
        (
            "heat.jpg",
            "Heat maps of concepts that the caption leaves out, as in CoCu's Figs. 3b and 4",
        ),
    ):
        if (folder / file).exists():
            size = measure_picture(folder / file)
            blocks += [Text((f"{text}.",)), Figure(f"{folder.name}/{file}", text, **size)]
        else:
            blocks.append(
                Text(
                    (
                        f"{text}: not drawn. ",
                        Code("dvc repro report"),
                        " draws it if there are true masks.",
                    )
                )
            )
    return blocks


# ------------------------------------------------------------------------------------------------
# CoCu's ablation


def build_ablation(data: Comparison) -> list[tuple[Mapping[str, str], Result]]:
    """Return the rows of CoCu's Table 3 for which we have a result, with that result."""
    table = next(table for table in TABLES if table.run == "ablation")
    rows = (
        (row, data.of(recipe, data.home, first=table.run))
        for recipe, row in zip(table.recipes, table.rows, strict=True)
    )
    return [(row, result) for row, result in rows if result and "miou" in result.scores]
