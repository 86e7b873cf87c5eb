"""compare: every recipe on every benchmark next to the papers' tables, from the reports of this run
and of kept experiments.
"""

from __future__ import annotations

from captionseg.params import Params
from captionseg.reporting.comparison.comparison_page import Outputs
from captionseg.reporting.comparison.comparison_page import compare as write
from captionseg.reporting.comparison.score_files import Folders
from captionseg.tracking.tracker import Tracker
from stages.kinds import In, Out

PARAMS = ("recipes", "about")


def main(  # noqa: PLR0913 - a stage has an argument for each of its paths
    params: Params,
    *,
    metrics: In,
    recipes: In,
    plots: In,
    pictures: In,
    experiments: In,
    benchmarks: In,
    markdown: Out,
    page: Out,
    charts: Out,
    tracker: Tracker,
) -> dict[str, float]:
    """Write the comparison, and record its numbers and files for the whole reproduction."""
    folders = Folders(metrics, recipes, plots, pictures, experiments, benchmarks)
    numbers = write(folders, Outputs(markdown, page, charts), recipes=params.recipes_with_about)
    tracker.summary({"comparison": numbers}, [markdown, page, charts])
    return {name: float(value) for name, value in numbers.items() if isinstance(value, int)}
