"""Modules that import a large library which few tests need.

Each process of the tests collects all of them, and imports what their files import. What only a few
files need is better imported by the processes alone that run one of these.
"""

import functools
import importlib
from collections.abc import Callable
from typing import Any


def import_late(name: str) -> Callable[[], Any]:
    """A function that imports the module, and returns it."""
    return functools.partial(importlib.import_module, name)
