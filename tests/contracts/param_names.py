"""Names of params as documents write them: `curate.cocu.neighbours`, or only `neighbours`."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import types
import typing
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any

from captionseg.params import Params
from tests.contracts.documents import ROOT

PARAMS = Params(ROOT / "params.yaml")


def section_type(section: str) -> Any:
    """The type of a section."""
    if section == "recipes":
        return dict[str, type(next(iter(PARAMS.recipes.values())))]  # type: ignore[misc]
    value = getattr(PARAMS, section)
    return type(value) if dataclasses.is_dataclass(value) else dict[str, str]


def element_types(hint: Any) -> Iterator[Any]:
    """A type; for Annotated, a union, a list or a tuple, the types inside it."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        yield from element_types(typing.get_args(hint)[0])
    elif origin in (typing.Union, types.UnionType, list, tuple):
        for part in typing.get_args(hint):
            yield from element_types(part)
    else:
        yield hint


def resolves(kind: Any, names: Sequence[str]) -> bool:
    """Whether nested field names exist in a type."""
    if not names or kind is Any:
        return True
    if typing.get_origin(kind) is dict:
        return any(resolves(part, names[1:]) for part in element_types(typing.get_args(kind)[1]))
    if not dataclasses.is_dataclass(kind):
        return False
    hint = typing.get_type_hints(kind).get(names[0])
    return hint is not None and any(resolves(part, names[1:]) for part in element_types(hint))


def is_param(name: str) -> bool:
    """Whether a dotted name is a param or a group of params."""
    section, *names = name.split(".")
    return section in Params.SECTIONS and resolves(section_type(section), names)


@functools.cache
def param_dataclasses() -> frozenset[type]:
    """All dataclasses of which params consist."""
    todo = [part for section in Params.SECTIONS for part in element_types(section_type(section))]
    seen: set[type] = set()
    while todo:
        kind = todo.pop()
        if typing.get_origin(kind) is dict:
            todo += [*element_types(typing.get_args(kind)[1])]
        elif dataclasses.is_dataclass(kind) and kind not in seen:
            seen.add(typing.cast(type, kind))
            todo += [
                part
                for hint in typing.get_type_hints(kind).values()
                for part in element_types(hint)
            ]
    return frozenset(seen)


@functools.cache
def nested_fields() -> frozenset[str]:
    """Fields that contain fields, with which a name within a section may begin."""
    return frozenset(
        name
        for kind in param_dataclasses()
        for name, hint in typing.get_type_hints(kind).items()
        if any(dataclasses.is_dataclass(part) for part in element_types(hint))
    )


def is_param_within_section(name: str) -> bool:
    """Whether a name such as `grounding_dino.threshold` exists within some section."""
    return any(resolves(kind, name.split(".")) for kind in param_dataclasses())


@functools.cache
def metric_names() -> frozenset[str]:
    """Dotted names in metrics.json of the committed run and of the kept experiments."""
    files = [ROOT / "reports" / "metrics.json", *ROOT.glob("reports/experiments/*/metrics.json")]
    return frozenset(n for f in files if f.is_file() for n in flatten(json.loads(f.read_text())))


def flatten(value: Any, before: str = "") -> Iterator[str]:
    """Dotted names of nested mappings and their values."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield f"{before}{key}"
            yield from flatten(part, f"{before}{key}.")


def is_metric(name: str) -> bool:
    """Whether a pattern with * or NAME matches a number of a run."""
    pattern = re.sub(r"\b[A-Z][A-Z_]*\b", "*", name)
    return any(fnmatchcase(metric, pattern) for metric in metric_names())
