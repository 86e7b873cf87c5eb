"""Plain values, as YAML and JSON have them -> frozen dataclasses, checked.

An unknown key, a missing value or a value of a wrong type is one line with its path and what would be valid.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from captionseg.records import UserError


def check_keys(values: Any, valid: typing.Iterable[str], where: str) -> None:
    """One line for a key that is not valid: its path, the nearest valid name, all valid names."""
    names = list(valid)
    if not isinstance(values, Mapping):
        raise UserError(f"{where}: expected keys ({', '.join(names)}), found {values!r}")
    for key in values:
        if key not in names:
            near = difflib.get_close_matches(str(key), names, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UserError(f"{where}.{key}: unknown parameter{hint} (valid: {', '.join(names)})")


def build(kind: Any, value: Any, where: str) -> Any:
    """`value` from YAML as `kind`: a dataclass, a union with None, a Literal, a container of those, or a scalar.

    Raises:
        UserError: with the dotted path `where`.
    """
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, value, where)
    if origin is types.UnionType or origin is typing.Union:
        if value is None and type(None) in args:
            return None
        return build(next(a for a in args if a is not type(None)), value, where)
    if origin is typing.Literal:
        if value not in args:
            raise UserError(f"{where}: {value!r} is not valid (valid: {', '.join(map(str, args))})")
        return value
    if origin is dict:
        if not isinstance(value, Mapping):
            raise UserError(f"{where}: expected a mapping, found {value!r}")
        return {str(k): build(args[1], v, f"{where}.{k}") for k, v in value.items()}
    if origin in (list, tuple):
        if not isinstance(value, list):
            raise UserError(f"{where}: expected a list, found {value!r}")
        return origin(build(args[0], v, f"{where}.{i}") for i, v in enumerate(value))
    return _build_scalar(kind, value, where)


def replaced(value: Any, changes: Mapping[str, Any], where: str) -> Any:
    """A dataclass with some of its fields changed, those of dataclasses inside it too; `changes` are plain values.

    Raises:
        UserError: with the dotted path `where`.
    """
    hints = typing.get_type_hints(type(value))
    check_keys(changes, [f.name for f in dataclasses.fields(value) if f.init], where)
    fields = {}
    for key, change in changes.items():
        old = getattr(value, key)
        deeper = dataclasses.is_dataclass(old) and isinstance(change, Mapping)
        path = f"{where}.{key}"
        fields[key] = replaced(old, change, path) if deeper else build(hints[key], change, path)
    return _made(functools.partial(dataclasses.replace, value), fields, where)


def _build_dataclass(kind: Any, value: Any, where: str) -> Any:
    value = {} if value is None else value
    hints = typing.get_type_hints(kind)
    fields = [f for f in dataclasses.fields(kind) if f.init]
    check_keys(value, [f.name for f in fields], where)
    required = [f.name for f in fields
                if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING]
    if missing := [name for name in required if name not in value]:
        raise UserError(f"{where}.{missing[0]}: missing; give it a value")
    inner = {f.name: f.default_factory() for f in fields  # a dataclass whose fields are not all given keeps the rest
             if f.name in value and f.default_factory is not dataclasses.MISSING}
    built = {k: replaced(inner[k], v or {}, f"{where}.{k}") if dataclasses.is_dataclass(inner.get(k))
             else build(hints[k], v, f"{where}.{k}") for k, v in value.items()}
    return _made(kind, built, where)


def _made(make: Callable[..., Any], fields: Mapping[str, Any], where: str) -> Any:
    """What `make` makes of the fields; what a __post_init__ refuses is a mistake of the user's."""
    try:
        return make(**fields)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None


def _build_scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if value != value:
            raise UserError(f"{where}: expected a number, found NaN")
        return float(value)
    if kind is typing.Any or (isinstance(value, kind) and (kind is bool or not isinstance(value, bool))):
        return value
    hint = ""
    if kind is float and isinstance(value, str) and re.fullmatch(r"[+-]?\d+e[+-]?\d+", value.lower()):
        mantissa, exponent = value.lower().split("e")
        hint = f", which is text to YAML; write {mantissa}.0e{exponent if exponent[0] in '+-' else '+' + exponent}"
    raise UserError(f"{where}: expected {kind.__name__}, found {value!r}{hint}")
