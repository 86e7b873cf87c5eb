"""No number of metrics.json falls below the base commit's by more than params.yaml allows.

    regression: {recipes.*.*.miou: 1.0}    # a path, * for any one name of it: how far it may fall

The first pattern that fits a number decides, so an exception stands above what it is an exception
of.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from captionseg.gate.data import RunData
from captionseg.gate.table import Finding, Outcome, Section, format_number
from captionseg.gate.thresholds import PRECISION
from captionseg.records import DROPPED, UserError

SHOWN = 5  # largest gains and losses
CHANGED = 30  # parameters

HEAD = ("number", "value", "base", "change", "margin", "interval of the base")

Keys = tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """A number here and in the base commit.

    Attributes:
        keys: its path.
        outcome: PASS, MISS or NOTE.
        now, base: its values, None where it is absent.
        margin: how much further it might fall, negative where it fell too far; None where one of
            them is absent.
        interval: the base's 95 % interval where metrics.json has it, and on which side of it the
            number is now; for people: `margin` alone decides.
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
        """Now less the base."""
        if self.now is None or self.base is None:
            return None
        return round(self.now - self.base, PRECISION) + 0.0

    def cells(self) -> tuple[str, str, str]:
        """Both values and the change as text."""
        return format_number(self.now), format_number(self.base), format_number(self.change, "+")


@dataclass(frozen=True)
class Run:
    """What git holds of a run: metrics.json and params.yaml."""

    metrics: Mapping[str, Any]
    params: Mapping[str, Any]

    @property
    def data(self) -> RunData:
        """The data of its numbers."""
        return RunData.of(self.metrics, (self.params.get("download") or {}).get("source", ""))


def check_regression(
    allowed: Mapping[str, float], run: Run, base: Run, about: str
) -> tuple[Section, list[Section]]:
    """The section on regressions, and tables that explain it.

    Args:
        allowed: pattern -> how far a number may fall, in its own unit.
        run: this one.
        base: that of the base commit. Numbers of other data are not compared.
        about: against what.
    """
    parameters = compare_parameters(run.params, base.params)
    if run.data.differs(base.data):
        why = (
            f"the base's numbers are of other data ({base.data.name}) than these "
            f"({run.data.name}): not compared"
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
    """Every number that a pattern fits, here or in the base commit, in the patterns' order.

    Args:
        allowed: pattern -> how far a number may fall, in its own unit.
        now: metrics.json here.
        base: metrics.json there.
        params: params.yaml here: a number that it no longer asks for may go.

    Raises:
        UserError: for an allowed fall below zero.
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
            changes.append(Change((pattern,), "NOTE", remark="fits no number"))
        changes += [
            _compare(keys, fall, current, earlier, params) for keys in fitting if keys not in seen
        ]
        seen |= set(fitting)
    return changes


def fits(keys: Keys, pattern: str) -> bool:
    """Name by name, so that * never reaches over a dot."""
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
            return Change(keys, "NOTE", now, base, remark="gone from params.yaml too")
        return Change(keys, "MISS", now, base, remark="gone, and params.yaml still asks for it")
    if not math.isfinite(now):
        return Change(keys, "MISS", now, base, remark="not a finite number")
    if base is None:
        return Change(keys, "NOTE", now, base, remark="new")
    if not math.isfinite(base):
        return Change(keys, "NOTE", now, base, remark="the base is not a finite number")
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
    """Whether params.yaml no longer asks for the recipe, rule or benchmark of this number."""
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
    """Paths of the leaves that are numbers."""
    for keys, value in flatten(values):
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield keys, float(value)


def flatten(values: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Path and value of everything in mappings that is no mapping itself, or an empty one
    inside."""
    if isinstance(values, Mapping) and (values or not keys):
        for key, value in values.items():
            yield from flatten(value, (*keys, str(key)))
    else:
        yield keys, values


def tabulate(changes: Sequence[Change], about: str) -> Section:
    """The changes as a section of the gate; `about` says against what."""
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
    """The largest gains and losses of the recipes, one number each, gains first."""
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
    return Section("Gains and losses", "The largest of each recipe.", head, findings)


def compare_parameters(now: Mapping[str, Any], base: Mapping[str, Any]) -> Section:
    """Parameters that differ from the base's: scores of other data or seeds are no regression of
    the code.
    """
    findings = [Finding("NOTE", difference) for difference in list_differences(base, now)]
    rest = len(findings) - CHANGED
    more = [Finding("NOTE", (f"and {rest} more",))] if rest > 0 else []
    return Section(
        "Parameters",
        "What params.yaml says otherwise than the base.",
        ("parameter", "base", "now"),
        findings[:CHANGED] + more,
    )


def list_differences(old: Any, new: Any) -> list[tuple[str, str, str]]:
    """(dotted path, old value, new value) of leaves that are not equal; a dash for an absent
    one.
    """
    before, after = dict(flatten(old)), dict(flatten(new))
    return [
        (".".join(keys), _format(before, keys), _format(after, keys))
        for keys in dict.fromkeys([*before, *after])
        if keys not in before or keys not in after or before[keys] != after[keys]
    ]


def _format(values: Mapping[Keys, Any], keys: Keys) -> str:
    return str(values[keys])[:80] if keys in values else "-"
