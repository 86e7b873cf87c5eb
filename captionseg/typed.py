"""Plain values, as YAML and JSON have them -> frozen dataclasses, checked.

A fault is one line with its path, what was found and what would be valid; all faults of a value
come together. What a number may be stands in its annotation, in annotated_types' words: `epochs:
Count`, `weight: Annotated[float, Ge(2)]`.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, GroupedMetadata, Gt, Interval, Le, Lt, MinLen, Predicate

from captionseg.records import UserError, one_line


@dataclass(frozen=True)
class Match:
    """Of a text: the pattern that it matches as a whole, and that in words."""

    pattern: str
    words: str


@dataclass(frozen=True, eq=False)
class Member:
    """Of a text: a name of a family's dict.

    Attributes:
        family: name -> member; its names are valid.
        also: one more valid name, of no member.
    """

    family: Mapping[str, Any]
    also: str = ""

    @property
    def names(self) -> list[str]:
        """All that is valid."""
        return [*filter(None, [self.also]), *self.family]


@dataclass(frozen=True)
class Distinct:
    """Of a list: no value twice."""


MOST = (
    10**9
    # of anything that is counted: more is a slip, and does not fit the 32 bits that some libraries
    # count in
)

Count = Annotated[int, Interval(ge=1, le=MOST)]
Natural = Annotated[int, Interval(ge=0, le=MOST)]
Seed = Annotated[int, Interval(ge=0, le=2**32 - 1)]
Share = Annotated[float, Interval(ge=0, le=1)]
ShareAboveZero = Annotated[float, Interval(gt=0, le=1)]
ShareBelowOne = Annotated[float, Interval(ge=0, lt=1)]
AboveZero = Annotated[float, Gt(0)]
ZeroOrMore = Annotated[float, Ge(0)]
Finite = Annotated[float, Predicate(math.isfinite)]
Device = Annotated[str, Match(r"auto|cpu|cuda(:\d+)?", "auto, cpu, cuda, cuda:N")]
NAME = Match(
    r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}",
    "letters a to z, digits, '-' and '_', a letter or digit first, at most 100",
)
Name = Annotated[str, NAME]
Split = typing.Literal["train", "tune", "test"]
Template = Annotated[str, Match(r"[^{}]*\{\}[^{}]*", "a text with one {} in it")]

_RANGES: dict[type, tuple[str, str, Callable[[Any, Any], bool]]] = {
    Ge: ("ge", "{:g} or more", lambda value, bound: value >= bound),
    Gt: ("gt", "above {:g}", lambda value, bound: value > bound),
    Le: ("le", "at most {:g}", lambda value, bound: value <= bound),
    Lt: ("lt", "below {:g}", lambda value, bound: value < bound),
}


def build_all(makers: Mapping[Any, Callable[[], Any]]) -> dict[Any, Any]:
    """What each of some functions makes, by name.

    Raises:
        UserError: with the lines of all that fail.
    """
    made, faults = {}, []
    for key, make in makers.items():
        try:
            made[key] = make()
        except UserError as error:
            faults.append(str(error))
    if faults:
        raise UserError("\n".join(faults))
    return made


def suggest(value: Any, valid: Iterable[str]) -> str:
    """`; did you mean 'NAME'?` where a valid name is near, else nothing."""
    near = difflib.get_close_matches(str(value), list(valid), 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def check_keys(values: Any, valid: Iterable[str], where: str) -> None:
    """A line for each key that is not valid: its path, the nearest valid name, all valid names."""
    names = list(valid)
    if not isinstance(values, Mapping):
        raise UserError(f"{where}: expected keys ({', '.join(names)}), found {values!r}")
    faults = [
        f"{where}.{one_line(key)}: unknown parameter{suggest(key, names)} "
        f"(valid: {', '.join(names)})"
        for key in values
        if key not in names
    ]
    if faults:
        raise UserError("\n".join(faults))


def check_member(value: Any, valid: Iterable[Any], where: str) -> None:
    """Refuse a value that is none of some; the line names them, and the nearest."""
    names = list(valid)
    if value not in names:
        raise UserError(
            f"{where}: {value!r} is not valid (valid: {', '.join(map(str, names))})"
            f"{suggest(value, names)}"
        )


def build(kind: Any, value: Any, where: str, default: Any = dataclasses.MISSING) -> Any:
    """`value` from YAML as `kind`: a dataclass, a union with None, a Literal, a container of those,
    or a scalar.

    Args:
        kind: as annotated; what Annotated says of ranges, lengths and patterns is checked.
        value: found.
        where: its dotted path.
        default: proposed where the value is out of range.

    Raises:
        UserError: a line for each fault, with its dotted path.
    """
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        built = build(args[0], value, where, default)
        _check(built, args[1:], where, default)
        return built
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, value, where)
    if origin is types.UnionType or origin is typing.Union:
        if value is None and type(None) in args:
            return None
        return build(next(a for a in args if a is not type(None)), value, where, default)
    if origin is typing.Literal:
        check_member(value, args, where)
        return value
    if origin in (dict, list, tuple):
        return _build_container(origin, args, value, where)
    return _build_scalar(kind, value, where)


def replace_fields(value: Any, changes: Mapping[str, Any], where: str) -> Any:
    """A dataclass with some of its fields changed, those of dataclasses inside it too; `changes`
    are plain values.

    Raises:
        UserError: a line for each fault, with its dotted path.
    """
    hints = typing.get_type_hints(type(value), include_extras=True)
    check_keys(changes, [f.name for f in dataclasses.fields(value) if f.init], where)
    makers = {}
    for key, change in changes.items():
        old = getattr(value, key)
        deeper = dataclasses.is_dataclass(old) and isinstance(change, Mapping)
        path = f"{where}.{key}"
        makers[key] = (
            functools.partial(replace_fields, old, change, path)
            if deeper
            else functools.partial(build, hints[key], change, path, old)
        )
    return _construct(functools.partial(dataclasses.replace, value), build_all(makers), where)


def _build_container(origin: Any, args: tuple[Any, ...], value: Any, where: str) -> Any:
    if origin is dict:
        if not isinstance(value, Mapping):
            raise UserError(f"{where}: expected a mapping, found {value!r}")
        return build_all(
            {k: functools.partial(_build_entry, args[1], k, v, where) for k, v in value.items()}
        )
    if not isinstance(value, list):
        raise UserError(f"{where}: expected a list, found {value!r}")
    makers = {i: functools.partial(build, args[0], v, f"{where}.{i}") for i, v in enumerate(value)}
    return origin(build_all(makers).values())


def _build_dataclass(kind: Any, value: Any, where: str) -> Any:
    value = {} if value is None else value
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = {f.name: f for f in dataclasses.fields(kind) if f.init}
    makers: dict[str, Callable[[], Any]] = {"": functools.partial(check_keys, value, fields, where)}
    if not isinstance(value, Mapping):
        makers[""]()
    for name, field in fields.items():
        path = f"{where}.{name}"
        if name not in value:
            if field.default is field.default_factory is dataclasses.MISSING:
                makers[name] = functools.partial(_missing, path)
            continue
        default = (
            field.default
            if field.default_factory is dataclasses.MISSING
            else field.default_factory()
        )
        # a dataclass whose fields are not all given keeps the rest
        makers[name] = (
            functools.partial(replace_fields, default, value[name] or {}, path)
            if dataclasses.is_dataclass(default)
            and not isinstance(default, type)
            and field.default_factory is not dataclasses.MISSING
            else functools.partial(build, hints[name], value[name], path, default)
        )
    built = build_all(makers)
    del built[""]
    return _construct(kind, built, where)


def _missing(where: str) -> None:
    raise UserError(f"{where}: missing; give it a value")


def _construct(make: Callable[..., Any], fields: Mapping[str, Any], where: str) -> Any:
    """What `make` makes of the fields; what a __post_init__ refuses is a mistake of the user's."""
    try:
        return make(**fields)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None


def _build_entry(kind: Any, key: Any, value: Any, where: str) -> Any:
    """One value of a mapping, whose keys are text: YAML reads 1, no and null as something else."""
    if not isinstance(key, str):
        raise UserError(
            f"{where}.{key}: names must be text, but YAML reads {type(key).__name__}; put it in "
            "quotes"
        )
    return build(kind, value, f"{where}.{one_line(key)}")


def _build_scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is Any:
        return value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number:
        if value != value:
            raise UserError(f"{where}: expected a number, found NaN")
        if abs(value) > 1e300:
            raise UserError(f"{where}: expected a finite number, found {str(value)[:20]}")
    if kind is float and number:
        return float(value)
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    hint = ""
    if (
        kind is float
        and isinstance(value, str)
        and re.fullmatch(r"[+-]?\d+e[+-]?\d+", value.lower())
    ):
        mantissa, exponent = value.lower().split("e")
        hint = (
            ", which is text to YAML; write "
            f"{mantissa}.0e{exponent if exponent[0] in '+-' else '+' + exponent}"
        )
    raise UserError(f"{where}: expected {kind.__name__}, found {value!r}{hint}")


def _check(value: Any, rules: Iterable[Any], where: str, default: Any) -> None:
    """What Annotated says of a value.

    Raises:
        UserError: naming the path, the value, what would be valid and, where there is one, the
            default.
    """
    flat = [
        one for rule in rules for one in (rule if isinstance(rule, GroupedMetadata) else [rule])
    ]
    ranges = [one for one in flat if type(one) in _RANGES]
    if not all(_RANGES[type(one)][2](value, getattr(one, _RANGES[type(one)][0])) for one in ranges):
        raise UserError(
            f"{where}: {value!r} is out of range (valid: {_words(ranges)}{_default(default)})"
        )
    for rule in flat:
        if isinstance(rule, Match) and not re.fullmatch(rule.pattern, value):
            raise UserError(
                f"{where}: {one_line(repr(value))} is not valid (valid: "
                f"{rule.words}{_default(default)})"
            )
        if isinstance(rule, Member):
            check_member(value, rule.names, where)
        if isinstance(rule, MinLen) and len(value) < rule.min_length:
            raise UserError(
                f"{where}: give at least {'one' if rule.min_length == 1 else rule.min_length}, "
                f"found {value!r}{_default(default)}"
            )
        if isinstance(rule, Distinct) and len({repr(one) for one in value}) < len(value):
            twice = next(one for i, one in enumerate(value) if one in value[:i])
            raise UserError(f"{where}: {twice!r} occurs twice in {list(value)!r}; remove one")


def _words(ranges: Iterable[Any]) -> str:
    """Ranges in words: `1 to 9`, `0 or more`, `above 0, at most 1`."""
    bounds = {type(one): getattr(one, _RANGES[type(one)][0]) for one in ranges}
    if bounds.keys() == {Ge, Le}:
        return f"{bounds[Ge]:.10g} to {bounds[Le]:.10g}"
    return ", ".join(_RANGES[kind][1].format(bound) for kind, bound in bounds.items())


def _default(value: Any) -> str:
    has_default = (
        value is not dataclasses.MISSING and value is not None and value not in ("", [], ())
    )
    return f"; default: {value!r}" if has_default else ""
