"""Where a run's params, metrics, pictures and models go besides files: MLflow, or nowhere. (placeholder: null only)"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol


class Tracker(Protocol):
    """What a stage may say of itself while it runs."""

    def params(self, values: Mapping[str, Any]) -> None: ...
    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None: ...
    def artifact(self, path: Path, folder: str = "") -> None: ...
    def model(self, folder: Path, name: str) -> None: ...


class NullTracker:
    """Says nothing to nobody."""

    def params(self, values: Mapping[str, Any]) -> None: ...
    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None: ...
    def artifact(self, path: Path, folder: str = "") -> None: ...
    def model(self, folder: Path, name: str) -> None: ...


@contextlib.contextmanager
def start(stage: str, recipe: str | None, *, root: Path) -> Iterator[Tracker]:
    """The tracker of one stage of one reproduction."""
    yield NullTracker()
