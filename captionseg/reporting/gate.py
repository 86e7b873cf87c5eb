"""What a run must reach: rules over the numbers of metrics.json, read by a small parser of our own.

    recipes.cocu-mil.photo_scenes.miou - recipes.nouns-mil.photo_scenes.miou >= 3

Tokens stand between spaces, because names hold '-': numbers, dotted paths, + - *, and one of >= >
<= < ==.
"""

from __future__ import annotations

import contextlib
import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from captionseg.records import UserError
from captionseg.reporting.data import Data
from captionseg.reporting.gate_table import Line, Part, number

OPERATORS = ("+", "-", "*")
COMPARISONS: dict[str, Callable[[float, float], float]] = {
    ">=": lambda left, right: left - right,
    ">": lambda left, right: left - right,
    "<=": lambda left, right: right - left,
    "<": lambda left, right: right - left,
    "==": lambda left, right: -abs(left - right),
}
"""How far the left side is on the right side of a comparison: its margin."""

PRECISION = 9  # decimals: 30.1 - 27.1 is 3, whatever binary fractions make of it


@dataclass(frozen=True)
class Rule:
    """A parsed rule: terms of both sides, each a list of (sign, factors), and the comparison
    between them.
    """

    name: str
    text: str
    left: list[tuple[int, list[str]]]
    comparison: str
    right: list[tuple[int, list[str]]]


@dataclass(frozen=True)
class Verdict:
    """How a rule came out.

    Attributes:
        name, text: of the rule.
        passed: does it hold?
        value: of the left side, None where a name leads nowhere.
        margin: how much is to spare, negative where it is missed; None likewise.
        reason: why there is no value, else empty.
        skipped: nothing is wrong with the run: on these data the value cannot be measured.
    """

    name: str
    text: str
    passed: bool
    value: float | None = None
    margin: float | None = None
    reason: str = ""
    skipped: bool = False


def table(rules: Mapping[str, str], metrics: Mapping[str, Any], about: str) -> Part:
    """The rules as a part of the gate; `about` says where they stand.

    Raises:
        UserError: for a rule that cannot be read.
    """
    lines = [
        Line(
            "PASS" if one.passed else "SKIP" if one.skipped else "MISS",
            (
                one.name,
                number(one.value),
                bound(one.text),
                number(one.margin, "+"),
                one.reason or one.text,
            ),
        )
        for one in judge(rules, metrics)
    ]
    return Part("Thresholds", about, ("rule", "value", "bound", "margin", "in full"), lines)


def bound(text: str) -> str:
    """A rule from its comparison on."""
    words = text.split()
    return " ".join(words[next(i for i, word in enumerate(words) if word in COMPARISONS) :])


def judge(rules: Mapping[str, str], metrics: Mapping[str, Any]) -> list[Verdict]:
    """All rules of a gate against the numbers of metrics.json.

    Raises:
        UserError: for a rule that cannot be read.
    """
    return [_judge(parse(name, text), metrics) for name, text in rules.items()]


def parse(name: str, text: str) -> Rule:
    """One rule.

    Raises:
        UserError: saying what was expected where.
    """
    words = text.split()
    places = [i for i, word in enumerate(words) if word in COMPARISONS]
    if len(places) != 1:
        raise UserError(
            f"gate.{name}: {text!r} needs exactly one of {' '.join(COMPARISONS)} between spaces"
        )
    at = places[0]
    sides = [_side(part, name, text) for part in (words[:at], words[at + 1 :])]
    return Rule(name, text, sides[0], words[at], sides[1])


def _side(words: Sequence[str], name: str, text: str) -> list[tuple[int, list[str]]]:
    """TERM {+|-|* TERM} as a sum of products."""
    terms, signs = words[::2], words[1::2]
    wrong = [w for w in terms if w in OPERATORS] + [w for w in signs if w not in OPERATORS]
    if wrong or len(words) % 2 == 0:
        raise UserError(
            f"gate.{name}: {text!r}: expected names and numbers with {' '.join(OPERATORS)} between "
            "them" + (f", found {wrong[0]!r} out of place" if wrong else ", found too few")
        )
    total = [(1, [terms[0]])]
    for sign, term in zip(signs, terms[1:], strict=True):
        if sign == "*":
            total[-1][1].append(term)
        else:
            total.append((1 if sign == "+" else -1, [term]))
    return total


def _judge(rule: Rule, metrics: Mapping[str, Any]) -> Verdict:
    try:
        left, right = (_value(side, metrics) for side in (rule.left, rule.right))
    except LookupError as error:
        data, excuses = Data.of(metrics), []
        for word in (
            word for side in (rule.left, rule.right) for _, factors in side for word in factors
        ):
            with contextlib.suppress(LookupError):
                lookup(metrics, word)
                continue
            excuses.append(data.unmeasured(word.split("."), metrics))
        # one name that should be there and is not is a miss, whatever the others are
        if all(excuses):
            return Verdict(
                rule.name, rule.text, False, reason=f"not measured: {excuses[0]}", skipped=True
            )
        return Verdict(rule.name, rule.text, False, reason=str(error.args[0]))
    margin = round(COMPARISONS[rule.comparison](left, right), PRECISION) + 0.0
    passed = margin > 0 if rule.comparison in ("<", ">") else margin >= 0
    return Verdict(rule.name, rule.text, passed, round(left, PRECISION), margin)


def _value(side: Sequence[tuple[int, list[str]]], metrics: Mapping[str, Any]) -> float:
    return sum(
        sign * math.prod(lookup(metrics, factor) for factor in factors) for sign, factors in side
    )


def lookup(metrics: Mapping[str, Any], word: str) -> float:
    """A number as it is written, or what stands at a dotted path.

    Raises:
        LookupError: if there is nothing, or no number, at the path.
    """
    try:
        return float(word)
    except ValueError:
        pass
    here: Any = metrics
    for depth, key in enumerate(keys := word.split(".")):
        if not isinstance(here, Mapping) or key not in here:
            names = list(here) if isinstance(here, Mapping) else []
            near = difflib.get_close_matches(key, names, 1)
            hint = (
                f"; did you mean {near[0]!r}?"
                if near
                else f" (there: {', '.join(names) or 'nothing'})"
            )
            raise LookupError(f"metrics.json has no {'.'.join(keys[: depth + 1])}{hint}")
        here = here[key]
    if isinstance(here, bool) or not isinstance(here, int | float):
        raise LookupError(f"metrics.json: {word} is not a number")
    return float(here)
