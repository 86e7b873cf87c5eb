"""What a stage logs of its outputs waits until they are in place, and has their final paths."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from captionseg.tracking.tracker import Tracker

AT_ONCE = ("params", "metrics", "tags", "inputs")
"""Calls that are made at once. All others are about files, or about the whole reproduction."""


class DeferredTracker:
    """A tracker for the main of a stage: `send` passes on to the other tracker what is about files,
    with the paths that they have by then.

    Args:
        tracker: the other one.
        outputs: where each lies while the stage is at work -> where it is afterwards.
    """

    def __init__(self, tracker: Tracker, outputs: Mapping[Path, Path]) -> None:
        self._tracker, self._outputs = tracker, outputs
        self._deferred: list[tuple[str, tuple, dict]] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._tracker, name)
        if name in AT_ONCE:
            return method
        return lambda *values, **named: self._deferred.append((name, values, named))

    def send(self) -> None:
        """Make the calls that were deferred; the outputs are in place."""
        for name, values, named in self._deferred:
            getattr(self._tracker, name)(*self._move_paths(values), **self._move_paths(named))
        self._deferred = []

    def _move_paths(self, value: Any) -> Any:
        """The same value, paths in it as they are after the move."""
        if isinstance(value, Path):
            for source, target in self._outputs.items():
                if value == source or source in value.parents:
                    return target / value.relative_to(source)
        if isinstance(value, Mapping):
            return {key: self._move_paths(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._move_paths(part) for part in value)
        return value
