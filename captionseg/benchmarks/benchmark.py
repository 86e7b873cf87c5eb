"""The interface of benchmarks: pictures with true masks, and the names of their classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from captionseg.inference.prepared_folders import PreparedFolders
from captionseg.model_inputs import Inputs
from captionseg.modeling.segmenter import InputSpec
from captionseg.segmenters.interfaces import MaskMaker


@dataclass(frozen=True)
class Sample:
    """One picture: its uid, the inputs of the model, and true labels [H, W]."""

    uid: str
    inputs: Inputs
    truth: np.ndarray


class Benchmark(Protocol):
    """Pictures with true masks."""

    @property
    def names(self) -> tuple[str, ...]:
        """[C] names of the classes, as they are prompted, by label."""
        ...

    @property
    def kinds(self) -> tuple[str, ...]:
        """[C] kinds of the classes, object or stuff; empty if unknown."""
        ...

    @property
    def ignore(self) -> int:
        """Label of ignored pixels."""
        ...

    def __len__(self) -> int: ...

    def of(
        self, reads: InputSpec, refine: str = "none", masks: MaskMaker | None = None
    ) -> Benchmark:
        """Return the same pictures with the inputs of a model and its refinement; arguments as of
        PreparedFolders.inputs.
        """
        ...

    def samples(self) -> Iterator[Sample]:
        """Yield all pictures, in a fixed order."""
        ...


@dataclass(frozen=True)
class Folders:
    """Folders of the stages that a benchmark on the run's own data reads."""

    prepared: PreparedFolders
    truth: Path


def spread(count: int, limit: int) -> np.ndarray:
    """Return at most `limit` evenly spaced indices below `count`; 0 returns all."""
    selected = min(limit or count, count)
    return np.linspace(0, count - 1, selected).round().astype(int)
