"""Converts plain values, as YAML and JSON have them, to frozen dataclasses, and checks them.

Each fault is one line: the path, the value and what would be valid. All faults of a value are
reported together. The annotation of a field says which values are valid: `epochs: Count`,
`weight: Annotated[float, Ge(2)]`; see captionseg.constraints.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

from annotated_types import Ge, Gt, Interval, Predicate

from captionseg.constraints import Match, check_constraints, check_member, suggest
from captionseg.records import UserError, one_line

# Larger counts are mistakes, and do not fit the 32-bit integers of some libraries.
MOST = 10**9

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


def build_all(makers: Mapping[Any, Callable[[], Any]]) -> dict[Any, Any]:
    """Call all functions, and return their results by key.

    Raises:
        UserError: with the lines of all functions that fail.
    """
    built, faults = {}, []
    for key, make in makers.items():
        try:
            built[key] = make()
        except UserError as error:
            faults.append(str(error))
    if faults:
        raise UserError("\n".join(faults))
    return built


def check_keys(values: Any, valid: Iterable[str], where: str) -> None:
    """Check that all keys of a mapping are valid.

    Args:
        values: the mapping.
        valid: all valid keys.
        where: dotted path of the mapping, for the message.

    Raises:
        UserError: if it is no mapping; or a line for each unknown key, with its path, the most
            similar valid key and all valid keys.
    """
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


def build(kind: Any, value: Any, where: str, default: Any = dataclasses.MISSING) -> Any:
    """Convert a plain value to an annotated type.

    Args:
        kind: a dataclass, a union with None, a Literal, a container of those, or a scalar; the
            constraints of Annotated are checked.
        value: the plain value.
        where: its dotted path, for messages.
        default: named in messages about invalid values.

    Raises:
        UserError: a line for each fault, with its dotted path.
    """
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        built = build(args[0], value, where, default)
        check_constraints(built, args[1:], where, default)
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
    """Return a dataclass with some fields changed.

    Args:
        value: the dataclass.
        changes: field -> plain value; a mapping changes fields of a nested dataclass.
        where: dotted path of the dataclass, for messages.

    Raises:
        UserError: a line for each fault, with its dotted path.
    """
    hints = typing.get_type_hints(type(value), include_extras=True)
    check_keys(changes, [f.name for f in dataclasses.fields(value) if f.init], where)
    makers = {}
    for key, change in changes.items():
        old = getattr(value, key)
        is_nested = dataclasses.is_dataclass(old) and isinstance(change, Mapping)
        path = f"{where}.{key}"
        makers[key] = (
            functools.partial(replace_fields, old, change, path)
            if is_nested
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
            functools.partial(
                replace_fields, default, {} if value[name] is None else value[name], path
            )
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
    """Call `make` with the fields; a ValueError of a __post_init__ becomes a UserError."""
    try:
        return make(**fields)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None


def _build_entry(kind: Any, key: Any, value: Any, where: str) -> Any:
    """Build one value of a mapping. Keys must be strings; unquoted 1, no and null are not."""
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
