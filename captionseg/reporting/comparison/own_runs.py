"""The sections of the comparison on our own runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from captionseg.reporting.advice import describe_source
from captionseg.reporting.baselines import find_baseline, is_control
from captionseg.reporting.comparison.comparison import Comparison
from captionseg.reporting.comparison.document import Block, Cell, Row, Table, Text
from captionseg.reporting.comparison.results import OWN, Curves, Run
from captionseg.reporting.rendering import DASH, format_number

SHOWN = 5  # number of best and of worst classes per recipe
LAST = 0.1  # the last loss is the mean over this share of the steps


def describe_comparison(data: Comparison) -> tuple[Text, Text]:
    """Describe the compared recipes and data in one sentence, and the method in a paragraph."""
    default, home = data.runs[0], data.home.replace("_", " ")
    scored = [r for r in data.results if "miou" in r.scores]
    seeds = sorted({len(r.seeds) for r in scored if r.seeds})
    experiments = [run.name for run in data.runs[1:]]
    benchmarks = sorted({r.title for r in data.results if r.benchmark != data.home})
    protocols = sorted({r.protocol for r in data.results} - {OWN})
    pictures = sorted({r.pictures for r in scored if r.benchmark == data.home and r.pictures})
    count = (
        f"the training split of {default.pairs:,} captioned pictures"
        if default.pairs
        else "captioned pictures"
    )
    names = {r.recipe for r in data.results} | set(default.trained)
    scored_on = (
        f", scored on {_span(pictures)} test pictures" if pictures else ", scored on the test split"
    )
    first = [
        f"{len(names)} recipe{'s' * (len(names) != 1)}, trained on {count} "
        f"({home}{_digest(data)}) without masks",
        f", each with {_span(seeds)} seeds" if seeds else "",
        ", not scored: no picture of the test split has a mask" if data.has_no_masks else scored_on,
        f" and on {', '.join(benchmarks)}" if benchmarks else "",
        "; next to the papers' tables.",
    ]
    more = [
        f"{about} " if (about := describe_source(default.data.source)) else "",
        f"Experiments besides the default run: {', '.join(experiments)}."
        if experiments
        else "No experiment on these data was kept besides the default run.",
        " Left out of the tables of scores, because they use other data: "
        f"{', '.join(f'{r.name} ({r.data.name})' for r in data.others)}."
        if data.others
        else "",
        *([] if data.has_no_masks and not scored else [*_describe_scores(protocols)]),
        " No picture of the tune split has a mask, so no epoch was chosen by its score."
        if default.data.lacks("tune")
        else " Epochs and thresholds are chosen on the tune split; the test split is only used for "
        "reporting.",
    ]
    return Text(("".join(first),)), Text(("".join(more),))


def _describe_scores(protocols: Sequence[str]) -> Iterator[str]:
    yield (
        f" Protocols besides each recipe's own: {', '.join(protocols)}."
        if protocols
        else " Every recipe is scored only by its own protocol."
    )
    yield (
        " Every mIoU is computed over the whole data set (one confusion matrix) and averaged over "
        "seeds; intervals are bootstraps over test pictures with fixed models."
    )


def _digest(data: Comparison) -> str:
    digest = data.runs[0].data.digest
    return f", digest {digest}" if digest else ""


def _span(values: Sequence[int]) -> str:
    return f"{values[0]:,}" if len(values) == 1 else f"{values[0]:,} to {values[-1]:,}"


# ------------------------------------------------------------------------------------------------
# classes


def build_classes(data: Comparison) -> list[Block]:
    """Build a table of the best and worst classes of every recipe by its own protocol."""
    results = [r for r in data.results if r.per_class and r.protocol == OWN]
    if not results:
        return [Text(("No scores of single classes were kept.",))]
    rows = []
    for result in results:
        order = sorted(result.per_class.items(), key=lambda pair: (-pair[1], pair[0]))
        zero = sum(value < 1 for _, value in order)
        rows.append(
            Row(
                [
                    Cell(data.name(result)),
                    Cell(result.title, kind="text"),
                    Cell(_list_scores(order[:SHOWN]), kind="text"),
                    Cell(_list_scores(order[::-1][:SHOWN]), kind="text"),
                    Cell(f"{zero} of {len(order)}"),
                ]
            )
        )
    head = ("recipe", "benchmark", f"{SHOWN} best", f"{SHOWN} worst, worst first", "below 1 %")
    return [
        Table("Single classes, mean over seeds: IoU, or the benchmark's own measure", head, rows)
    ]


def _list_scores(rows: Iterable[tuple[str, float]]) -> str:
    return ", ".join(f"{name}\N{NO-BREAK SPACE}{format_number(value)}" for name, value in rows)


# ------------------------------------------------------------------------------------------------
# convergence


def select_curves(data: Comparison, run: Run) -> Curves:
    """Select the curves of a run's recipes without controls; for an experiment only those of models
    with curves that the default run does not have.
    """
    default = {} if run is data.runs[0] else data.runs[0].curves
    known = {name: seeds for name, seeds in run.curves.items() if name in run.recipes}
    models = {
        run.recipes[name].model for name, seeds in known.items() if default.get(name) != seeds
    }
    return {
        name: seeds
        for name, seeds in known.items()
        if run.recipes[name].model in models and not is_control(run.recipes[name])
    }


def build_convergence(run: Run, curves: Curves) -> Table:
    """Build a table of losses, tune mIoU, and the steps a recipe takes to match its baseline."""
    rows = []
    for name, seeds in curves.items():
        steps, tuned = _mean(seeds, "loss"), _mean(seeds, "tune_miou")
        tail = max(1, round(LAST * len(steps))) if steps else 1
        last = float(np.mean([value for _, value in steps[-tail:]])) if steps else None
        base = find_baseline(run.recipes, name) if name in run.recipes else None
        aim = _mean(run.curves[base], "tune_miou") if base in run.curves else []
        reached = next((step for step, value in tuned if aim and value >= aim[-1][1]), None)
        soon = Cell(DASH)
        if aim and steps:
            soon = Cell(
                "never" if reached is None else f"{reached + 1:,}",
                f"of {steps[-1][0] + 1:,}; {base} ends at {format_number(aim[-1][1])}",
            )
        rows.append(
            Row(
                [
                    Cell(name),
                    Cell(format_number(steps[0][1] if steps else None, 2)),
                    Cell(format_number(last, 2)),
                    *(Cell(format_number(tuned[i][1] if tuned else None)) for i in (0, -1)),
                    soon,
                ]
            )
        )
    head = (
        "recipe",
        "first loss",
        "last loss",
        "first tune mIoU",
        "last tune mIoU",
        "steps to its baseline's last tune mIoU",
    )
    return Table(f"Experiment {run.name}" if run.name else "The default run", head, rows)


def _mean(
    seeds: Mapping[int, Sequence[tuple[int, str, float]]], name: str
) -> list[tuple[int, float]]:
    """Return (step, mean over seeds) at the steps that all seeds have."""
    values = [{step: v for step, n, v in rows if n == name} for rows in seeds.values()]
    steps = sorted(set.intersection(*(set(v) for v in values))) if values else []
    return [(step, float(np.mean([v[step] for v in values]))) for step in steps]
