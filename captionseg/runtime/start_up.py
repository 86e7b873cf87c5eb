"""Faster imports of large libraries."""

from __future__ import annotations

import contextlib
import functools
import gc
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def collect_nothing() -> Iterator[None]:
    """Inside, no garbage is collected; for imports alone.

    Modules, classes and functions stay as long as the process, but while they are made the
    collector goes over all of them again and again: a sixth of the time that torch, lightning,
    great_expectations or mlflow take. After the first time in a process it leaves alone what is
    there by then.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        _freeze_once()
        if was_enabled:
            gc.enable()


@functools.cache
def _freeze_once() -> None:
    """Leave alone what is there. (gc.get_freeze_count would count all of it at each call.)"""
    gc.freeze()


@contextlib.contextmanager
def hide_packages(*names: str) -> Iterator[None]:
    """Inside, importing these packages raises ImportError, as if they were not installed; those
    that are loaded already stay as they are.

    For libraries that try to import what they can do without, and keep the answer.
    """
    hidden = [name for name in names if name not in sys.modules]
    modules: dict[str, Any] = sys.modules
    modules.update(dict.fromkeys(hidden))  # None: see Python's documentation of the import
    try:
        yield
    finally:
        for name in hidden:
            modules.pop(name, None)
