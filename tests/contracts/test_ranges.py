"""Every number of params.yaml says what it may be: one without a range fails hours into a run, or
trains nothing.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import annotated_types
import pytest

from captionseg.constraints import Match, Member
from captionseg.modeling.models import MODELS, PRESETS
from captionseg.params import Params
from captionseg.records import UserError
from captionseg.typed import replace_fields

PARAMS = Params(Path(__file__).parents[2] / "params.yaml")


def classes() -> Iterator[type]:
    """All dataclasses that sections of params.yaml, and configurations of models, are made of."""
    todo = [
        *(type(getattr(PARAMS, name)) for name in Params.SECTIONS),
        type(next(iter(PARAMS.recipes.values()))),
    ]
    todo += [config for config, _ in MODELS.values()] + [type(make()) for make in PRESETS.values()]
    seen: set[type] = set()
    while todo:
        kind = todo.pop()
        if kind in seen or not dataclasses.is_dataclass(kind):
            continue
        seen.add(kind)
        yield kind
        hints = typing.get_type_hints(kind)
        todo += [
            inner
            for field in dataclasses.fields(kind)
            if field.init
            for inner in parts(hints[field.name])
        ]


def parts(hint: Any) -> Iterator[Any]:
    """A type and those inside it, with what Annotated says of them."""
    yield hint
    if typing.get_origin(hint) in (typing.Union, types.UnionType, list, tuple, dict):
        for inner in typing.get_args(hint):
            yield from parts(inner)
    if typing.get_origin(hint) is Annotated and typing.get_args(hint)[0] not in (int, float, str):
        yield from parts(typing.get_args(hint)[0])


def fields() -> Iterator[tuple[type, str, Any]]:
    for kind in classes():
        hints = typing.get_type_hints(kind, include_extras=True)
        yield from (
            (kind, field.name, hints[field.name])
            for field in dataclasses.fields(kind)
            if field.init
        )


def test_every_number_has_a_range():
    bare = [
        f"{kind.__name__}.{name}"
        for kind, name, hint in fields()
        if any(part in (int, float) for part in parts(hint))
    ]
    assert not bare, f"give these a type of captionseg.typed: {', '.join(bare)}"


def test_a_range_is_what_typed_checks():
    """Of annotated_types' words only these are read; another would be passed over without a
    word."""
    known = (
        annotated_types.Interval,
        annotated_types.Ge,
        annotated_types.Gt,
        annotated_types.Le,
        annotated_types.Lt,
        annotated_types.MinLen,
        annotated_types.Predicate,
        Match,
        Member,
    )
    strange = [
        f"{kind.__name__}.{name}"
        for kind, name, hint in fields()
        for part in parts(hint)
        for rule in getattr(part, "__metadata__", ())
        if not isinstance(rule, known) and type(rule).__name__ != "Distinct"
    ]
    assert not strange


NUMBERS = [
    (kind, name, typing.get_args(part)[0])
    for kind, name, hint in fields()
    for part in [*parts(hint)][:1]
    if typing.get_origin(part) is Annotated and typing.get_args(part)[0] in (int, float)
]


def test_numbers_are_many():
    assert len(NUMBERS) > 200


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), float("-inf"), "7", True, -(10**400), [1]],
    ids=lambda value: str(value)[:6],
)
def test_no_number_takes_what_is_no_finite_number(value):
    """Of all fields of all sections, whichever model or rule is chosen."""
    for kind, name, _ in NUMBERS:
        with pytest.raises(UserError, match=rf"^here\.{name}: [^\n]+$"):
            replace_fields(made(kind), {name: value}, "here")


def made(kind: Any) -> Any:
    given = {
        "CurateParams": {"rules": ["nouns"]},
        "Recipe": {"curation": "nouns", "archive": "nouns"},
        "Network": {"name": "tf_efficientnet_lite0"},
    }
    return kind(**given.get(kind.__name__, {}))


def test_defaults_lie_within_their_ranges():
    for kind, name, _ in NUMBERS:
        default = getattr(made(kind), name)
        replace_fields(made(kind), {name: default}, "here")
