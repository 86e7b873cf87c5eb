"""What an annotation may demand of a value, and the check.

Ranges and lengths are those of annotated_types. Patterns, names of a family and distinct values are
defined here. For example: `epochs: Annotated[int, Ge(1)]`, `maker: Annotated[str, Member(MAKERS)]`.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from annotated_types import Ge, GroupedMetadata, Gt, Le, Lt, MinLen

from captionseg.records import UserError, one_line


@dataclass(frozen=True)
class Match:
    """A string must match a pattern.

    Attributes:
        pattern: regular expression for the whole string.
        words: the same in words, for error messages.
    """

    pattern: str
    words: str


@dataclass(frozen=True, eq=False)
class Member:
    """A string must be the name of a member of a family.

    Attributes:
        family: name -> member.
        also: one more valid name, which is not in the family; empty for none.
    """

    family: Mapping[str, Any]
    also: str = ""

    @property
    def names(self) -> list[str]:
        """All valid names."""
        return [*filter(None, [self.also]), *self.family]


@dataclass(frozen=True)
class Distinct:
    """The elements of a list must differ from each other."""


_RANGES: dict[type, tuple[str, str, Callable[[Any, Any], bool]]] = {
    Ge: ("ge", "{:g} or more", lambda value, bound: value >= bound),
    Gt: ("gt", "above {:g}", lambda value, bound: value > bound),
    Le: ("le", "at most {:g}", lambda value, bound: value <= bound),
    Lt: ("lt", "below {:g}", lambda value, bound: value < bound),
}
"""Bound -> its attribute in annotated_types, the bound in words, and the check."""


def suggest(value: Any, valid: Iterable[str]) -> str:
    """Return `; did you mean 'NAME'?` with the most similar valid name, or an empty string."""
    near = difflib.get_close_matches(str(value), list(valid), 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def check_member(value: Any, valid: Iterable[Any], where: str) -> None:
    """Check that a value is one of several.

    Args:
        value: the value.
        valid: all valid values.
        where: dotted path of the value, for the message.

    Raises:
        UserError: if it is none of them; the message lists them and suggests the most similar.
    """
    names = list(valid)
    if value not in names:
        raise UserError(
            f"{where}: {value!r} is not valid (valid: {', '.join(map(str, names))})"
            f"{suggest(value, names)}"
        )


def check_constraints(value: Any, constraints: Iterable[Any], where: str, default: Any) -> None:
    """Check a value against the constraints of its annotation.

    Args:
        value: the value, already of the annotated type.
        constraints: the arguments of Annotated after the type; unknown ones are ignored.
        where: dotted path of the value, for the message.
        default: named in the message, unless it is MISSING or empty.

    Raises:
        UserError: with the path, the value, what would be valid, and the default.
    """
    flat = [
        constraint
        for group in constraints
        for constraint in (group if isinstance(group, GroupedMetadata) else [group])
    ]
    ranges = [constraint for constraint in flat if type(constraint) in _RANGES]
    if not all(_is_within(value, bound) for bound in ranges):
        raise UserError(
            f"{where}: {value!r} is out of range (valid: {_describe_ranges(ranges)}"
            f"{_describe_default(default)})"
        )
    for rule in flat:
        if isinstance(rule, Match) and not re.fullmatch(rule.pattern, value):
            raise UserError(
                f"{where}: {one_line(repr(value))} is not valid (valid: "
                f"{rule.words}{_describe_default(default)})"
            )
        if isinstance(rule, Member):
            check_member(value, rule.names, where)
        if isinstance(rule, MinLen) and len(value) < rule.min_length:
            raise UserError(
                f"{where}: give at least {'one' if rule.min_length == 1 else rule.min_length}, "
                f"found {value!r}{_describe_default(default)}"
            )
        if isinstance(rule, Distinct) and len({repr(item) for item in value}) < len(value):
            twice = next(item for i, item in enumerate(value) if item in value[:i])
            raise UserError(f"{where}: {twice!r} occurs twice in {list(value)!r}; remove one")


def _is_within(value: Any, bound: Any) -> bool:
    attribute, _, is_valid = _RANGES[type(bound)]
    return is_valid(value, getattr(bound, attribute))


def _describe_ranges(ranges: Iterable[Any]) -> str:
    """Ranges in words: `1 to 9`, `0 or more`, `above 0, at most 1`."""
    bounds = {type(bound): getattr(bound, _RANGES[type(bound)][0]) for bound in ranges}
    if bounds.keys() == {Ge, Le}:
        return f"{bounds[Ge]:.10g} to {bounds[Le]:.10g}"
    return ", ".join(_RANGES[kind][1].format(bound) for kind, bound in bounds.items())


def _describe_default(value: Any) -> str:
    has_default = (
        value is not dataclasses.MISSING and value is not None and value not in ("", [], ())
    )
    return f"; default: {value!r}" if has_default else ""
