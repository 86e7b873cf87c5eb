"""Check that no number of metrics.json falls below the base commit's by more than params.yaml
allows.

    regression: {recipes.*.*.miou: 1.0}    # path (* matches any one name): allowed fall

The first pattern that matches a number applies, so exceptions must come first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from captionseg.gate.data import RunData
from captionseg.gate.findings_table import Finding, Outcome, Section, format_number
from captionseg.gate.thresholds import PRECISION
from captionseg.records import DROPPED, UserError
from captionseg.storage.nested import Keys, list_leaves

SHOWN = 5  # largest gains and losses
CHANGED = 30  # parameters

HEAD = ("number", "value", "base", "change", "margin", "interval of the base")


@dataclass(frozen=True)
class Change:
    """A number now and in the base commit.

    Attributes:
        keys: its path.
        outcome: PASS, MISS or NOTE.
        now, base: its values, None if absent.
        margin: how much further it may fall, negative if it fell too far; None if a value is
            absent.
        interval: the base's 95 % interval, if known, and on which side of it the number is now.
            For information: `margin` alone decides.
        remark: why an absent number is a MISS or a NOTE.
    """

    keys: Keys
    outcome: Outcome
    now: float | None = None
    base: float | None = None
    margin: float | None = None
    interval: str = ""
    remark: str = ""

    @property
    def change(self) -> float | None:
        """The difference now minus base."""
        if self.now is None or self.base is None:
            return None
        return round(self.now - self.base, PRECISION) + 0.0

    def cells(self) -> tuple[str, str, str]:
        """Return both values and the change as text."""
        return format_number(self.now), format_number(self.base), format_number(self.change, "+")


@dataclass(frozen=True)
class Run:
    """The files of a run that git stores: metrics.json and params.yaml."""

    metrics: Mapping[str, Any]
    params: Mapping[str, Any]

    @property
    def data(self) -> RunData:
        """The data that its numbers were measured on."""
        return RunData.of(self.metrics, (self.params.get("download") or {}).get("source", ""))


def check_regression(
    allowed: Mapping[str, float], run: Run, base: Run, about: str
) -> tuple[Section, list[Section]]:
    """Build the section on regressions, and tables that explain it.

    Args:
        allowed: pattern -> how far a number may fall, in its own unit.
        run: the current run.
        base: the run of the base commit; not compared if its data differ.
        about: description of the base.
    """
    parameters = compare_parameters(run.params, base.params)
    if run.data.differs(base.data):
        why = (
            f"not compared: the base was measured on other data ({base.data.name}) than this run "
            f"({run.data.name})"
        )
        skipped = Section("Regression", about, ("number", "why"), [Finding("SKIP", ("all", why))])
        return skipped, [parameters]
    changes = compare_numbers(allowed, run.metrics, base.metrics, run.params)
    return tabulate(changes, about), [list_largest(changes), parameters]


def compare_numbers(
    allowed: Mapping[str, float],
    now: Mapping[str, Any],
    base: Mapping[str, Any],
    params: Mapping[str, Any],
) -> list[Change]:
    """Compare every number that a pattern matches, now or in the base commit, in pattern order.

    Args:
        allowed: pattern -> how far a number may fall, in its own unit.
        now: the current metrics.json.
        base: metrics.json of the base commit.
        params: the current params.yaml: a number of a recipe or rule that it removed may vanish.

    Raises:
        UserError: for a negative allowed fall.
    """
    for pattern, fall in allowed.items():
        if not fall >= 0:
            raise UserError(f"regression.{pattern}: expected 0 or more, found {fall:g}")
    current, earlier = dict(flatten_numbers(now)), dict(flatten_numbers(base))
    changes: list[Change] = []
    seen: set[Keys] = set()
    for pattern, fall in allowed.items():
        fitting = sorted(keys for keys in current.keys() | earlier.keys() if fits(keys, pattern))
        if not fitting:
            changes.append(Change((pattern,), "NOTE", remark="matches no number"))
        changes += [
            _compare(keys, fall, current, earlier, params) for keys in fitting if keys not in seen
        ]
        seen |= set(fitting)
    return changes


def fits(keys: Keys, pattern: str) -> bool:
    """Return whether a pattern matches a path name by name, so that * never spans a dot."""
    words = pattern.split(".")
    return len(words) == len(keys) and all(map(fnmatchcase, keys, words))


def _compare(
    keys: Keys,
    fall: float,
    current: Mapping[Keys, float],
    earlier: Mapping[Keys, float],
    params: Mapping[str, Any],
) -> Change:
    now, base = current.get(keys), earlier.get(keys)
    if now is None:
        if is_dropped(keys, params):
            return Change(keys, "NOTE", now, base, remark="removed from params.yaml")
        return Change(keys, "MISS", now, base, remark="missing, but still in params.yaml")
    if not math.isfinite(now):
        return Change(keys, "MISS", now, base, remark="not a finite number")
    if base is None:
        return Change(keys, "NOTE", now, base, remark="new")
    if not math.isfinite(base):
        return Change(keys, "NOTE", now, base, remark="not a finite number in the base")
    margin = round(now - base + fall, PRECISION) + 0.0
    outcome = "PASS" if margin >= 0 else "MISS"
    return Change(keys, outcome, now, base, margin, _describe_interval(keys, now, earlier))


def _describe_interval(keys: Keys, now: float, earlier: Mapping[Keys, float]) -> str:
    low, high = (earlier.get((*keys[:-1], f"{keys[-1]}_{end}")) for end in ("low", "high"))
    if low is None or high is None:
        return ""
    side = "below " if now < low else "above " if now > high else ""
    return f"{side}{low:.4g} to {high:.4g}"


def is_dropped(keys: Keys, params: Mapping[str, Any]) -> bool:
    """Return whether params.yaml no longer has the recipe, rule or benchmark of a number."""
    evaluate, curate = params.get("evaluate") or {}, params.get("curate") or {}
    match keys:
        case ("recipes", recipe, *_) if recipe not in (params.get("recipes") or {}):
            return True
        case ("recipes", recipe, benchmark, *_) if benchmark != "train" and "name" in evaluate:
            papers = (evaluate.get("also") or {}).get(recipe, ())
            name = evaluate["name"]
            name = (params.get("download") or {}).get("source", name) if name == "auto" else name
            return benchmark not in {name, *(f"{name}@{paper}" for paper in papers)}
        case ("curation", name, *_) if name == DROPPED:
            return not curate.get("marks")
        case ("curation", rule, *_) if "rules" in curate:
            return rule not in curate["rules"]
    return False


def flatten_numbers(values: Mapping[str, Any]) -> Iterator[tuple[Keys, float]]:
    """Yield the path and value of every leaf that is a number."""
    for keys, value in list_leaves(values):
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield keys, float(value)


def tabulate(changes: Sequence[Change], about: str) -> Section:
    """Format changes as a section of the gate; `about` describes the base."""
    findings = [
        Finding(
            one.outcome,
            (
                ".".join(one.keys),
                *one.cells(),
                format_number(one.margin, "+"),
                one.remark or one.interval,
            ),
        )
        for one in changes
    ]
    return Section("Regression", about, HEAD, findings)


def list_largest(changes: Sequence[Change], shown: int = SHOWN) -> Section:
    """Build a table of the largest gain or loss of each recipe, gains first."""
    largest: dict[str, tuple[float, Change]] = {}
    for one in changes:
        if one.change and one.keys[0] == "recipes" and len(one.keys) > 1:
            other, _ = largest.get(one.keys[1], (0.0, one))
            if abs(one.change) > abs(other):
                largest[one.keys[1]] = one.change, one
    ordered = sorted(largest.values(), key=lambda item: (-item[0], item[1].keys))
    gains = [one for change, one in ordered if change > 0][:shown]
    losses = [one for change, one in ordered if change < 0][-shown:]
    findings = [
        Finding(one.outcome, (one.keys[1], *one.cells(), ".".join(one.keys[2:])))
        for one in [*gains, *losses]
    ]
    head = ("recipe", "value", "base", "change", "of")
    return Section("Gains and losses", "The largest change of each recipe.", head, findings)


def compare_parameters(now: Mapping[str, Any], base: Mapping[str, Any]) -> Section:
    """Build a table of parameters that differ from the base's: a score that falls with other data
    or seeds is not a regression of the code.
    """
    findings = [Finding("NOTE", difference) for difference in list_differences(base, now)]
    rest = len(findings) - CHANGED
    more = [Finding("NOTE", (f"and {rest} more",))] if rest > 0 else []
    return Section(
        "Parameters",
        "Changes of params.yaml since the base.",
        ("parameter", "base", "now"),
        findings[:CHANGED] + more,
    )


def list_differences(old: Any, new: Any) -> list[tuple[str, str, str]]:
    """Return (dotted path, old value, new value) of leaves that differ; absent ones are a dash."""
    before, after = dict(list_leaves(old)), dict(list_leaves(new))
    return [
        (".".join(keys), _format(before, keys), _format(after, keys))
        for keys in dict.fromkeys([*before, *after])
        if keys not in before or keys not in after or before[keys] != after[keys]
    ]


def _format(values: Mapping[Keys, Any], keys: Keys) -> str:
    return str(values[keys])[:80] if keys in values else "-"
