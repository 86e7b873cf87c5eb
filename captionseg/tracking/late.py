"""What a stage says of its outputs is told when they are in place, and as they are called there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from captionseg.tracking.tracker import Tracker

AT_ONCE = ("params", "metrics", "tags", "inputs")
"""What may be told of a stage that is at work. All else is about files, or about the whole
reproduction.
"""


class Late:
    """A tracker for the main of a stage. Files that it names are said to the other tracker by
    `tell`, moved.

    Args:
        tracker: the other one.
        outputs: where each lies while the stage is at work -> where it is afterwards.
    """

    def __init__(self, tracker: Tracker, outputs: Mapping[Path, Path]) -> None:
        self._tracker, self._outputs = tracker, outputs
        self._kept: list[tuple[str, tuple, dict]] = []

    def __getattr__(self, name: str) -> Any:
        heard = getattr(self._tracker, name)
        if name in AT_ONCE:
            return heard
        return lambda *values, **named: self._kept.append((name, values, named))

    def tell(self) -> None:
        """Say what was kept; the outputs are in place."""
        for name, values, named in self._kept:
            getattr(self._tracker, name)(*self._moved(values), **self._moved(named))
        self._kept = []

    def _moved(self, value: Any) -> Any:
        """The same value, paths in it as they are after the move."""
        if isinstance(value, Path):
            for source, target in self._outputs.items():
                if value == source or source in value.parents:
                    return target / value.relative_to(source)
        if isinstance(value, Mapping):
            return {key: self._moved(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._moved(part) for part in value)
        return value
