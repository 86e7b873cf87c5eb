"""Params, metrics and their names in MLflow's format."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

KEY_LENGTH = 250  # MLflow's limit for names


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten {"a": {"b": 1}} to {"a.b": 1}, the names that `dvc params` and `dvc metrics` show."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def flatten_numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the numeric leaves of `values` as floats with dotted names."""
    return {
        key: float(value)
        for key, value in flatten(values).items()
        if hasattr(value, "__float__") and getattr(value, "size", 1) == 1
    }


def clean(key: str) -> str:
    """Convert a name to one that MLflow accepts: letters, digits and _-. :/, the last 250
    of them.
    """
    return re.sub(r"[^\w\-. :/]", "_", key)[-KEY_LENGTH:]
