"""The comparable runs, with queries on their results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from captionseg.reporting.comparison.results import DEFAULT, OWN, Result, Run


@dataclass(frozen=True)
class Comparison:
    """All runs on the same data.

    Attributes:
        runs: the runs, the default one first.
        others: experiments on other data, which cannot be compared with these.
    """

    runs: list[Run]
    others: Sequence[Run] = ()

    @staticmethod
    def of_same_data(runs: Sequence[Run]) -> Comparison:
        """Keep the default run and the experiments on the same data."""
        same = [run for run in runs if not runs[0].data.differs(run.data)]
        return Comparison(same, [run for run in runs if runs[0].data.differs(run.data)])

    @property
    def has_no_masks(self) -> bool:
        """Whether the runs' own pictures are known to have no true masks."""
        return self.runs[0].data.lacks(self.runs[0].data.scored)

    @cached_property
    def home(self) -> str:
        """The benchmark of the runs' own pictures: the first on which the pipeline scored a
        recipe.
        """
        return next(
            (run.home for run in self.runs if run.home), self.runs[0].data.source or "own pictures"
        )

    @cached_property
    def results(self) -> list[Result]:
        """The results of all runs, without those that an experiment merely repeats."""
        out: list[Result] = []
        for result in (result for run in self.runs for result in run.results):
            twins = (r.scores for r in out if self.key(r) == self.key(result))
            if not any(s.get("miou", s) == result.scores.get("miou", result.scores) for s in twins):
                out.append(result)
        return out

    @staticmethod
    def key(result: Result) -> tuple[str, str, str]:
        """Return what must be equal for two results to be comparable."""
        return result.recipe, result.benchmark, result.protocol

    def of(
        self, recipe: str, benchmark: str, protocol: str = OWN, *, first: str = DEFAULT
    ) -> Result | None:
        """Return the result of a recipe, preferably from the run named `first`."""
        results = [r for r in self.results if self.key(r) == (recipe, benchmark, protocol)]
        own = [
            r
            for run in self.runs
            if run.name == first
            for r in run.results
            if self.key(r) == (recipe, benchmark, protocol)
        ]
        return next(iter([*own, *results]), None)

    def protocols(self, recipe: str) -> list[str]:
        """Return the protocols by which a recipe was scored, its own first."""
        names = dict.fromkeys(r.protocol for r in self.results if r.recipe == recipe)
        return sorted(names, key=lambda name: (name != OWN, name))

    def label(self, result: Result) -> str:
        """Return a unique name: the recipe, with benchmark and protocol unless they are the
        default.
        """
        more = [result.title] if result.benchmark != self.home else []
        return ", ".join(
            [self.name(result), *more, *([result.protocol] if result.protocol != OWN else [])]
        )

    def name(self, result: Result) -> str:
        """A recipe's name, with its experiment's where another run has a recipe of that
        name too.
        """
        twin = any(r.run != result.run for r in self.results if self.key(r) == self.key(result))
        return f"{result.recipe} ({result.run})" if twin and result.run else result.recipe
