"""The clock of the measurements that compare forms of one computation."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from captionseg.runtime.device import Runtime


def compare(
    forms: Mapping[str, Callable[[], Tensor]], rounds: int, runtime: Runtime
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Median seconds of each form, taken in turns after one round that does not count, and what
    each gives.
    """
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    found = {}
    with torch.inference_mode():
        for _ in range(rounds + 1):
            for name, form in forms.items():
                start = time.perf_counter()
                found[name] = form()
                runtime.synchronize()
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}, found


def measure_once(form: Callable[[], object]) -> float:
    """Seconds of one call that ends when its work has ended."""
    start = time.perf_counter()
    form()
    return time.perf_counter() - start
