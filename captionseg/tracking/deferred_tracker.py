"""Defers what a stage logs about its outputs until they are at their final paths."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from captionseg.tracking.tracker import Tracker

AT_ONCE = ("params", "metrics", "tags", "inputs")
"""Calls that are not deferred. All others concern files or the whole reproduction."""


class DeferredTracker:
    """A tracker for the main of a stage: `send` forwards the calls about files to another tracker,
    with final paths.

    Args:
        tracker: the other tracker.
        outputs: path while the stage runs -> final path, for each output.
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
        """Make the deferred calls, once the outputs are in place."""
        for name, values, named in self._deferred:
            getattr(self._tracker, name)(*self._move_paths(values), **self._move_paths(named))
        self._deferred = []

    def _move_paths(self, value: Any) -> Any:
        """Replace the paths in a value by the final ones."""
        if isinstance(value, Path):
            for source, target in self._outputs.items():
                if value == source or source in value.parents:
                    return target / value.relative_to(source)
        if isinstance(value, Mapping):
            return {key: self._move_paths(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._move_paths(part) for part in value)
        return value
