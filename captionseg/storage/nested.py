"""Nested mappings, such as params.yaml and metrics.json, as leaves with the path to each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Keys = tuple[str, ...]


def list_leaves(values: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Yield the path and value of every leaf, in order. An empty mapping inside is a leaf.

    Args:
        values: mappings of mappings; anything else is itself a leaf.
        keys: the path to `values`, put in front of every path.
    """
    if isinstance(values, Mapping) and (values or not keys):
        for key, value in values.items():
            yield from list_leaves(value, (*keys, str(key)))
    else:
        yield keys, values


def flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten {"a": {"b": 1}} to {"a.b": 1}, the names that `dvc params` and `dvc metrics` show.

    Empty mappings vanish.
    """
    return {
        ".".join(keys): value
        for keys, value in list_leaves(values)
        if not isinstance(value, Mapping)
    }
