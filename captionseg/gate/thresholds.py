"""Thresholds: rules about the numbers of metrics.json.

    recipes.cocu-mil.photo_scenes.miou - recipes.nouns-mil.photo_scenes.miou >= 3

Tokens are separated by spaces, because names contain '-': numbers, dotted paths, + - *, and one of
>= > <= < ==.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from captionseg.gate.data import RunData
from captionseg.gate.findings_table import Finding, Section, format_number
from captionseg.records import UserError

OPERATORS = ("+", "-", "*")
COMPARISONS: dict[str, Callable[[float, float], float]] = {
    ">=": lambda left, right: left - right,
    ">": lambda left, right: left - right,
    "<=": lambda left, right: right - left,
    "<": lambda left, right: right - left,
    "==": lambda left, right: -abs(left - right),
}
"""Comparison -> its margin, negative if it fails."""

PRECISION = 9  # decimals, so that 30.1 - 27.1 is exactly 3

Sum = list[tuple[int, list[str]]]
"""A sum of products: (sign, factors) per term; a factor is a number or a path."""


@dataclass(frozen=True)
class Rule:
    """A parsed rule: two sums and the comparison between them."""

    name: str
    text: str
    left: Sum
    comparison: str
    right: Sum

    @property
    def bound(self) -> str:
        """The rule's text from its comparison on."""
        words = self.text.split()
        return " ".join(words[words.index(self.comparison) :])


@dataclass(frozen=True)
class Verdict:
    """The result of a rule.

    Attributes:
        rule: the rule.
        passed: whether it holds.
        value: its left side, None if a path does not exist.
        margin: distance to the bound, negative on a miss; None if `value` is.
        reason: why there is no value, otherwise empty.
        skipped: the value cannot be measured on these data, which is not a failure.
    """

    rule: Rule
    passed: bool
    value: float | None = None
    margin: float | None = None
    reason: str = ""
    skipped: bool = False


def check_thresholds(rules: Mapping[str, str], metrics: Mapping[str, Any], about: str) -> Section:
    """Build the section on the rules; `about` says where they are defined.

    Raises:
        UserError: for a rule that cannot be parsed.
    """
    findings = [
        Finding(
            "PASS" if one.passed else "SKIP" if one.skipped else "MISS",
            (
                one.rule.name,
                format_number(one.value),
                one.rule.bound,
                format_number(one.margin, "+"),
                one.reason or one.rule.text,
            ),
        )
        for one in judge(rules, metrics)
    ]
    return Section("Thresholds", about, ("rule", "value", "bound", "margin", "details"), findings)


def judge(rules: Mapping[str, str], metrics: Mapping[str, Any]) -> list[Verdict]:
    """Judge all rules on the numbers of metrics.json.

    Raises:
        UserError: for a rule that cannot be parsed.
    """
    return [_judge(parse(name, text), metrics) for name, text in rules.items()]


def parse(name: str, text: str) -> Rule:
    """Parse one rule.

    Raises:
        UserError: saying what was expected, and where.
    """
    words = text.split()
    places = [i for i, word in enumerate(words) if word in COMPARISONS]
    if len(places) != 1:
        raise UserError(
            f"gate.{name}: {text!r} needs exactly one of {' '.join(COMPARISONS)}, with spaces "
            "around it"
        )
    at = places[0]
    left, right = (_parse_sum(side, name, text) for side in (words[:at], words[at + 1 :]))
    return Rule(name, text, left, words[at], right)


def _parse_sum(words: Sequence[str], name: str, text: str) -> Sum:
    """Parse TERM {+|-|* TERM} as a sum of products."""
    terms, signs = words[::2], words[1::2]
    wrong = [w for w in terms if w in OPERATORS] + [w for w in signs if w not in OPERATORS]
    if wrong or len(words) % 2 == 0:
        raise UserError(
            f"gate.{name}: {text!r}: expected names and numbers with {' '.join(OPERATORS)} between "
            "them" + (f", found a misplaced {wrong[0]!r}" if wrong else ", found too few")
        )
    total = [(1, [terms[0]])]
    for sign, term in zip(signs, terms[1:], strict=True):
        if sign == "*":
            total[-1][1].append(term)
        else:
            total.append((1 if sign == "+" else -1, [term]))
    return total


def _judge(rule: Rule, metrics: Mapping[str, Any]) -> Verdict:
    paths = [
        factor for side in (rule.left, rule.right) for _, factors in side for factor in factors
    ]
    values: dict[str, float] = {}
    absent: dict[str, str] = {}
    for path in paths:
        try:
            values[path] = lookup(metrics, path)
        except LookupError as error:
            absent[path] = error.args[0]
    if absent:
        data = RunData.of(metrics)
        excuses = [data.explain_missing(path.split("."), metrics) for path in absent]
        # one missing path without an excuse is a miss, whatever the others are
        if all(excuses):
            return Verdict(rule, False, reason=f"not measured: {excuses[0]}", skipped=True)
        return Verdict(rule, False, reason=next(iter(absent.values())))
    left, right = (
        sum(sign * math.prod(values[factor] for factor in factors) for sign, factors in side)
        for side in (rule.left, rule.right)
    )
    margin = round(COMPARISONS[rule.comparison](left, right), PRECISION) + 0.0
    passed = margin > 0 if rule.comparison in ("<", ">") else margin >= 0
    return Verdict(rule, passed, round(left, PRECISION), margin)


def lookup(metrics: Mapping[str, Any], word: str) -> float:
    """Return a literal number, or the number at a dotted path.

    Raises:
        LookupError: if the path does not exist or its value is not a number.
    """
    try:
        return float(word)
    except ValueError:
        pass
    value: Any = metrics
    for depth, key in enumerate(keys := word.split(".")):
        if not isinstance(value, Mapping) or key not in value:
            names = list(value) if isinstance(value, Mapping) else []
            near = difflib.get_close_matches(key, names, 1)
            hint = (
                f"; did you mean {near[0]!r}?"
                if near
                else f" (found: {', '.join(names) or 'nothing'})"
            )
            raise LookupError(f"metrics.json has no {'.'.join(keys[: depth + 1])}{hint}")
        value = value[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise LookupError(f"metrics.json: {word} is not a number")
    return float(value)
