"""Every value that does not fit is one line with its path and what would be valid."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
import yaml

from captionseg.records import UserError
from captionseg.typed import build, replace_fields


@dataclass(frozen=True)
class Inner:
    rate: float = 0.1
    key: str | None = None


@dataclass(frozen=True)
class Outer:
    size: int
    deep: bool = False
    kind: Literal["exact", "faiss"] = "exact"
    seeds: list[int] = field(default_factory=list)
    inner: Inner = field(default_factory=Inner)
    free: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError("size: must not be below 0")


def refused(value: Any, message: str, kind: Any = Outer) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        build(kind, value, "outer")
    assert "\n" not in str(caught.value)


def test_what_fits_is_built():
    text = "{size: 3, deep: true, kind: faiss, seeds: [0, 1], inner: {rate: 1}, free: {a: [1, x]}}"
    built = build(Outer, yaml.safe_load(text), "outer")
    assert built == Outer(3, True, "faiss", [0, 1], Inner(1.0), {"a": [1, "x"]})
    assert isinstance(built.inner.rate, float)
    assert build(Inner, {"key": None}, "x") == Inner() == build(Inner, None, "x")


def test_an_unknown_key_names_the_nearest_and_all_valid_ones():
    refused(
        {"size": 1, "inner": {"rte": 1}},
        "outer.inner.rte: unknown parameter; did you mean 'rate'? (valid: rate, key)",
    )
    refused(
        {"size": 1, "xyz": 1},
        "outer.xyz: unknown parameter (valid: size, deep, kind, seeds, inner, free)",
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "outer.size: missing"),
        (None, "outer.size: missing"),
        ({"size": "3"}, "outer.size: expected int, found '3'"),
        ({"size": 1.5}, "outer.size: expected int, found 1.5"),
        ({"size": True}, "outer.size: expected int, found True"),
        ({"size": None}, "outer.size: expected int, found None"),
        ({"size": -1}, "outer: size: must not be below 0"),
        ({"size": 1, "deep": 1}, "outer.deep: expected bool, found 1"),
        ({"size": 1, "kind": "flat"}, "outer.kind: 'flat' is not valid (valid: exact, faiss)"),
        ({"size": 1, "kind": ["exact"]}, "outer.kind: ['exact'] is not valid"),
        ({"size": 1, "seeds": 3}, "outer.seeds: expected a list, found 3"),
        ({"size": 1, "seeds": [0, "x"]}, "outer.seeds.1: expected int, found 'x'"),
        ({"size": 1, "inner": 3}, "outer.inner: expected keys (rate, key), found 3"),
        # what people write for "off" is not the default
        ({"size": 1, "inner": False}, "outer.inner: expected keys (rate, key), found False"),
        ({"size": 1, "inner": []}, "outer.inner: expected keys (rate, key), found []"),
        ({"size": 1, "inner": ""}, "outer.inner: expected keys (rate, key), found ''"),
        ({"size": 1, "inner": 0}, "outer.inner: expected keys (rate, key), found 0"),
        ({"size": 1, "inner": {"rate": True}}, "outer.inner.rate: expected float, found True"),
        (
            {"size": 1, "inner": {"rate": float("nan")}},
            "outer.inner.rate: expected a number, found NaN",
        ),
        ({"size": 1, "inner": {"rate": "fast"}}, "outer.inner.rate: expected float, found 'fast'"),
        (
            {"size": 1, "inner": {"rate": "1e-3"}},
            "found '1e-3', which is text to YAML; write 1.0e-3",
        ),
        ({"size": 1, "inner": {"rate": "5E3"}}, "found '5E3', which is text to YAML; write 5.0e+3"),
        ({"size": 1, "inner": {"key": 5}}, "outer.inner.key: expected str, found 5"),
        ({"size": 1, "free": [1]}, "outer.free: expected a mapping, found [1]"),
        ([1], "outer: expected keys"),
    ],
)
def test_a_wrong_value_is_named_with_its_path(value, message):
    refused(value, message)


def test_replaced_goes_as_deep_as_the_changes_and_checks_them():
    base = Outer(3, inner=Inner(0.5, "a"))
    assert replace_fields(base, {"inner": {"rate": 1}, "deep": True}, "outer") == Outer(
        3, True, inner=Inner(1.0, "a")
    )
    assert replace_fields(base, {}, "outer") == base
    for changes, message in {
        "{inner: {rte: 1}}": "outer.inner.rte: unknown parameter; did you mean 'rate'",
        "{inner: 3}": "outer.inner: expected keys (rate, key), found 3",
        "{size: -1}": "outer: size: must not be below 0",
        "{deep: 1}": "outer.deep: expected bool, found 1",
    }.items():
        with pytest.raises(UserError, match=re.escape(message)):
            replace_fields(base, yaml.safe_load(changes), "outer")
