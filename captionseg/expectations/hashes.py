"""Hashes of values, 64 bits each: equal values are found by them in little memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt64
from pandas import util

hashing: Any = util  # its functions are found when they are asked for


def hash_values(values: Shaped[np.ndarray, " row"]) -> UInt64[np.ndarray, " row"]:
    """Hash each value of an array of objects; equal ones in any run have equal hashes."""
    return hashing.hash_array(values, categorize=False)


def list_once(values: UInt64[np.ndarray, " row"]) -> UInt64[np.ndarray, " value"]:
    """Return each of some sorted values once; np.unique takes several times the memory."""
    return values[np.append(True, values[1:] != values[:-1])[: len(values)]]
