"""Numbers and their names in MLflow's format."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from captionseg.storage.nested import flatten

KEY_LENGTH = 250  # MLflow's limit for names


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
