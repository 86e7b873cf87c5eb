"""Results of recipes, and the runs that they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from captionseg.gate.data import RunData
from captionseg.recipes import Recipe
from captionseg.reporting.charts import format_signed
from captionseg.reporting.rendering import format_number

DEFAULT, OWN = "", "own"
"""Name of the default run; name of the protocol saved with a model."""


Curves = dict[str, dict[int, list[tuple[int, str, float]]]]


@dataclass(frozen=True)
class Difference:
    """mIoU of a recipe minus another's, in points.

    Attributes:
        to: the other recipe.
        value: the difference.
        low, high: 95 % interval of a bootstrap over the test pictures that both were scored on.
        better: share of bootstrap samples in which it is above 0.
    """

    to: str
    value: float
    low: float | None = None
    high: float | None = None
    better: float | None = None

    @property
    def more(self) -> str:
        """The interval and the share, if known, as text."""
        if self.low is None or self.high is None:
            return f"over {self.to}"
        share = (
            "" if self.better is None else f", better in {100 * self.better:.0f}\N{NO-BREAK SPACE}%"
        )
        ends = f"{format_signed(self.low)} to {format_signed(self.high)}".replace(
            " ", "\N{NO-BREAK SPACE}"
        )
        return f"{ends} over {self.to}{share}"


@dataclass(frozen=True)
class Result:
    """The result of one recipe on one benchmark by one protocol.

    Attributes:
        run: DEFAULT or the name of an experiment.
        recipe: its name.
        benchmark: its name.
        protocol: OWN or the name of a paper's protocol.
        scores: numbers by name.
        per_class: IoU by class.
        seeds: mIoU by seed.
        labelling: the labelling options that the evaluation recorded.
        pictures: number of scored pictures, if known.
        title: title of the benchmark.
        baseline, control: gain over them.
    """

    run: str
    recipe: str
    benchmark: str
    protocol: str
    scores: Mapping[str, float]
    per_class: Mapping[str, float] = field(default_factory=dict)
    seeds: Mapping[str, float] = field(default_factory=dict)
    labelling: Mapping[str, Any] = field(default_factory=dict)
    pictures: int | None = None
    title: str = ""
    baseline: Difference | None = None
    control: Difference | None = None

    def interval(self, score: str = "miou") -> str:
        """Return the interval of a score as text; empty if unknown."""
        low, high = self.scores.get(f"{score}_low"), self.scores.get(f"{score}_high")
        return (
            ""
            if low is None or high is None
            else f"{format_number(low)} \N{EN DASH} {format_number(high)}"
        )


@dataclass(frozen=True)
class Run:
    """A run of the pipeline: the default one, or a kept experiment.

    Attributes:
        name: DEFAULT, or the experiment's name.
        about: purpose of the experiment.
        recipes: recipes of params.yaml or experiment.json.
        results: results by benchmark and protocol.
        curves: training curves of its recipes.
        home: benchmark of its own pictures; empty if none was scored.
        pairs: number of captioned pictures, if metrics.json has it.
        data: the data that it was measured on.
        trained: recipes in metrics.json, scored or not.
        curation: measures of its rules, by rule.
    """

    name: str
    about: str
    recipes: Mapping[str, Recipe]
    results: list[Result]
    curves: Curves
    home: str = ""
    pairs: int | None = None
    data: RunData = field(default_factory=RunData)
    trained: tuple[str, ...] = ()
    curation: Mapping[str, Any] = field(default_factory=dict)
