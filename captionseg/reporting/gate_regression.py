"""No number of metrics.json falls below the base branch's by more than params.yaml allows it.

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

from captionseg.records import UserError
from captionseg.reporting.data import Data
from captionseg.reporting.gate import PRECISION
from captionseg.reporting.gate_table import Line, Outcome, Part, number

SHOWN = 5  # largest gains and losses
CHANGED = 30  # parameters

Keys = tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """A number here and on the base branch.

    Attributes:
        keys: its path.
        outcome: PASS, MISS or NOTE.
        now, base: it, or None where it is not there.
        margin: how much further it might fall, negative where it fell too far; None where one of
            them is missing.
        interval: the base's 95 % interval where metrics.json has it, and on which side of it the
            number is now; for people: `margin` alone decides.
        remark: why a number that is missing is a MISS or a NOTE.
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
        return (
            None
            if self.now is None or self.base is None
            else round(self.now - self.base, PRECISION) + 0.0
        )


def changes(
    allowed: Mapping[str, float],
    now: Mapping[str, Any],
    base: Mapping[str, Any],
    params: Mapping[str, Any],
) -> list[Change]:
    """Every number that a pattern fits, here or on the base branch, in the patterns' order.

    Args:
        allowed: pattern -> how far a number may fall, in its own unit.
        now: metrics.json here.
        base: metrics.json there.
        params: params.yaml here: a number that it no longer asks for may go.

    Raises:
        UserError: for a fall below zero.
    """
    for pattern, fall in allowed.items():
        if not fall >= 0:
            raise UserError(f"regression.{pattern}: expected 0 or more, found {fall:g}")
    here, there = dict(numbers(now)), dict(numbers(base))
    found: list[Change] = []
    seen: set[Keys] = set()
    for pattern, fall in allowed.items():
        fitting = sorted(keys for keys in here.keys() | there.keys() if fits(keys, pattern))
        if not fitting:
            found.append(Change((pattern,), "NOTE", remark="fits no number"))
        found += [_change(keys, fall, here, there, params) for keys in fitting if keys not in seen]
        seen |= set(fitting)
    return found


def fits(keys: Keys, pattern: str) -> bool:
    """Name by name, so that * never reaches over a dot."""
    words = pattern.split(".")
    return len(words) == len(keys) and all(map(fnmatchcase, keys, words))


def _change(
    keys: Keys,
    fall: float,
    here: Mapping[Keys, float],
    there: Mapping[Keys, float],
    params: Mapping[str, Any],
) -> Change:
    now, base = here.get(keys), there.get(keys)
    if now is None:
        asked = not dropped(keys, params)
        remark = "gone, and params.yaml still asks for it" if asked else "gone from params.yaml too"
        return Change(keys, "MISS" if asked else "NOTE", now, base, remark=remark)
    if not math.isfinite(now):
        return Change(keys, "MISS", now, base, remark="not a finite number")
    if base is None or not math.isfinite(base):
        return Change(
            keys,
            "NOTE",
            now,
            base,
            remark="new" if base is None else "the base is not a finite number",
        )
    margin = round(now - base + fall, PRECISION) + 0.0
    return Change(
        keys, "PASS" if margin >= 0 else "MISS", now, base, margin, _interval(keys, now, there)
    )


def _interval(keys: Keys, now: float, there: Mapping[Keys, float]) -> str:
    low, high = (there.get((*keys[:-1], f"{keys[-1]}_{end}")) for end in ("low", "high"))
    if low is None or high is None:
        return ""
    side = "below " if now < low else "above " if now > high else ""
    return f"{side}{low:.4g} to {high:.4g}"


def dropped(keys: Keys, params: Mapping[str, Any]) -> bool:
    """Does params.yaml no longer ask for the recipe, rule or benchmark that this number is of?"""
    evaluate, curate = params.get("evaluate") or {}, params.get("curate") or {}
    match keys:
        case ("recipes", recipe, *_) if recipe not in (params.get("recipes") or {}):
            return True
        case ("recipes", recipe, benchmark, *_) if benchmark != "train" and "name" in evaluate:
            papers = (evaluate.get("also") or {}).get(recipe, ())
            name = evaluate["name"]
            name = (params.get("download") or {}).get("source", name) if name == "auto" else name
            return benchmark not in {name, *(f"{name}@{paper}" for paper in papers)}
        case ("curation", rule, *_) if "rules" in curate:
            return rule not in curate["rules"]
    return False


def numbers(values: Mapping[str, Any]) -> Iterator[tuple[Keys, float]]:
    """Paths of the leaves that are numbers."""
    for keys, value in leaves(values):
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield keys, float(value)


def leaves(values: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Path and value of everything in mappings that is no mapping itself, or an empty one
    inside."""
    if isinstance(values, Mapping) and (values or not keys):
        for key, value in values.items():
            yield from leaves(value, (*keys, str(key)))
    else:
        yield keys, values


def other_data(now: Data, base: Data, about: str) -> Part:
    """The part where nothing is compared, since the numbers there are of other data."""
    why = (
        f"the base's numbers are of other data ({base.name}) than these ({now.name}): not compared"
    )
    return Part("Regression", about, ("number", "why"), [Line("SKIP", ("all", why))])


def part(found: Sequence[Change], about: str) -> Part:
    """The changes as a part of the gate; `about` says against what."""
    head = ("number", "value", "base", "change", "margin", "interval of the base")
    return Part(
        "Regression",
        about,
        head,
        [
            Line(
                one.outcome,
                (
                    ".".join(one.keys),
                    number(one.now),
                    number(one.base),
                    number(one.change, "+"),
                    number(one.margin, "+"),
                    one.remark or one.interval,
                ),
            )
            for one in found
        ],
    )


def largest(found: Sequence[Change], shown: int = SHOWN) -> Part:
    """The largest gains and losses of the recipes, one number each, gains first."""
    of_recipe: dict[str, Change] = {}
    for one in found:
        if one.change and one.keys[0] == "recipes" and len(one.keys) > 1:
            other = of_recipe.get(one.keys[1])
            if other is None or abs(one.change) > abs(other.change or 0.0):
                of_recipe[one.keys[1]] = one
    ordered = sorted(of_recipe.values(), key=lambda one: (-(one.change or 0.0), one.keys))
    gains = [one for one in ordered if (one.change or 0.0) > 0][:shown]
    losses = [one for one in ordered if (one.change or 0.0) < 0][-shown:]
    lines = [
        Line(
            one.outcome,
            (
                one.keys[1],
                number(one.now),
                number(one.base),
                number(one.change, "+"),
                ".".join(one.keys[2:]),
            ),
        )
        for one in [*gains, *losses]
    ]
    return Part(
        "Gains and losses",
        "The largest of each recipe.",
        ("recipe", "value", "base", "change", "of"),
        lines,
    )


def parameters(now: Mapping[str, Any], base: Mapping[str, Any]) -> Part:
    """What params.yaml says otherwise than the base's: scores of other data or seeds are no
    regression of the code.
    """
    lines = [Line("NOTE", (key, old, new)) for key, old, new in differences(base, now)]
    rest = len(lines) - CHANGED
    more = [Line("NOTE", (f"and {rest} more",))] if rest > 0 else []
    return Part(
        "Parameters",
        "What params.yaml says otherwise than the base.",
        ("parameter", "base", "now"),
        lines[:CHANGED] + more,
    )


def differences(old: Any, new: Any) -> list[tuple[str, str, str]]:
    """(dotted path, old value, new value) of leaves that are not equal; a dash for what is not
    there.
    """
    before, after = dict(leaves(old)), dict(leaves(new))
    return [
        (".".join(keys), _text(before, keys), _text(after, keys))
        for keys in dict.fromkeys([*before, *after])
        if keys not in before or keys not in after or before[keys] != after[keys]
    ]


def _text(values: Mapping[Keys, Any], keys: Keys) -> str:
    return str(values[keys])[:80] if keys in values else "-"
